"""What has no counterpart elsewhere: decoding in a process with limits, and checking the trail (figures 11, 22)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
from pydicom.dataset import Dataset

from dicom_node.core.identifiers import derived_uid
from dicom_node.ledger import audit
from dicom_node.ledger.database import open_ledger
from dicom_node.ledger.overview import Overview
from dicom_node.part10.decode import decode
from dicom_node.part10.sandbox import DecodePool
from dicom_node.part10.writer import encode
from tests.benchmarks.survive_table import Sight

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.benchmarks.survive_table import Scale

_ROUNDS = 30
_SIDES = (500, 2000)
_RECORDS = 100_000
_MORE_MS = 2.0  # an image, and a megapixel where it has more than one


def decoder_rows(folder: Path, _scale: Scale) -> Iterator[tuple[str, str, Sight]]:
    """Yield what the decoder's own process costs an image, and what a lost one costs."""
    with DecodePool() as pool:
        for side in _SIDES:
            path = _image(folder, side)
            apart, inside = _both(lambda path=path: pool.decode(path), lambda path=path: decode(path))
            more = apart - inside
            text = f"{more:.1f} ms more than the {inside:.1f} ms in the same process"
            most = _MORE_MS * max(1.0, side * side / 1e6)
            yield f"decoding {side} x {side} pixels apart", f"{most:.0f} ms more at most", Sight(text, more <= most)
        lost = _ms(lambda: _after_a_loss(pool, path)) - apart
        yield "a decoder is lost", "the next within 1 s", Sight(f"{lost:.0f} ms more for the next", lost <= 1000.0)


def _both(one: Callable[[], Any], other: Callable[[], Any]) -> tuple[float, float]:
    """Return the milliseconds of two, in turn; the fastest of each counts: the machine does other things too."""
    taken = [(_ms(one), _ms(other)) for _ in range(_ROUNDS)]
    return min(pair[0] for pair in taken), min(pair[1] for pair in taken)


def _ms(action: Callable[[], Any]) -> float:
    began = time.perf_counter()
    action()
    return (time.perf_counter() - began) * 1e3


def _after_a_loss(pool: DecodePool, path: Path) -> None:
    pool.close()  # it kills the child, as a crash does; the next image starts another
    pool.decode(path)


def _image(folder: Path, side: int) -> Path:
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1", derived_uid("bench", str(side))
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.Modality = "1.2.3", "1.2.3.1", "CR"
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = side, side, 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    noise = np.random.default_rng(1).integers(0, 4096, size=(side, side), dtype=np.uint16)
    ds.add_new("PixelData", "OW", noise.tobytes())
    path = folder / f"{side}.dcm"
    path.write_bytes(encode(ds))
    return path


def trail_rows(folder: Path, _scale: Scale) -> Iterator[tuple[str, str, Sight]]:
    """Yield how long a trail of 100,000 records takes to be checked."""
    path = folder / "trail.db"
    ledger = open_ledger(path)
    with ledger.transaction() as connection:
        for number in range(_RECORDS):
            audit.note(connection, float(number), "delivery.done", study=f"1.2.{number}", detail="version 1 is at pacs")
    ledger.close()
    began = time.perf_counter()
    verdict = audit.verify(Overview(path).trail())
    took = time.perf_counter() - began
    text = f"{took:.1f} s, {verdict.problem or 'no flaw'}"
    yield f"{_RECORDS} records of the trail checked", "5 s at most", Sight(text, took <= 5.0 and not verdict.problem)
