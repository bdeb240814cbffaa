"""Small files that cost a careless reader gigabytes: here they are refused within a bound of memory (C22 to C31)."""

from __future__ import annotations

import resource
import struct
import subprocess
import sys
import zlib
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import imagecodecs
import numpy as np
import pytest
from pydicom.encaps import encapsulate

from dicom_node.core.errors import MalformedDataSet, NotAnalysable
from dicom_node.core.findings import ReasonCode
from dicom_node.part10 import codestream
from dicom_node.part10.decode import decode
from dicom_node.part10.header import DEFLATED, scan
from dicom_node.part10.sandbox import DecodeLimits, DecodePool
from tests.unit.part10.test_header import (
    EXPLICIT_LITTLE,
    ITEM_EMPTY,
    ITEM_END,
    ITEM_UNDEFINED,
    SQ_END,
    SQ_UNDEFINED,
    a_radiograph,
    encoded,
)

REPOSITORY = Path(__file__).resolve().parents[3]
EMPTY_ELEMENT = b"\x08\x00\x60\x00CS\0\0"
BROKEN_ROWS = b"\x28\x00\x10\x00US\x03\x00abc"
CODES = np.arange(4096, dtype=np.uint16).reshape(64, 64)
RLE = "1.2.840.10008.1.2.5"


def error_text_bomb(depth: int = 16) -> bytes:
    """Return nested items around a value of the wrong length: pydicom's message about it grows with every level."""
    return (SQ_UNDEFINED + ITEM_UNDEFINED) * depth + BROKEN_ROWS + (ITEM_END + SQ_END) * depth


def deflated(data: bytes) -> bytes:
    compressor = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


# What each is refused for; None: read without harm, for the scan converts no value.
DATA_SETS = {
    "nesting": ((SQ_UNDEFINED + ITEM_UNDEFINED) * 20_000, "nested deeper"),
    "error text": (error_text_bomb(), None),
    "elements": (EMPTY_ELEMENT * 1_000_000, "elements"),
    "items": (SQ_UNDEFINED + ITEM_EMPTY * 1_000_000, "items"),
    "length": (b"\xe0\x7f\x10\x00OW\0\0\xfe\xff\xff\xff" + bytes(64), "longer"),
    "fragments": (b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff" + ITEM_EMPTY * 1_000_001, "items"),
}


@pytest.mark.parametrize("name", DATA_SETS)
def test_c23_c24_c25_a_bomb_costs_the_scan_no_memory(name: str) -> None:
    data, refusal = DATA_SETS[name]
    with address_space(50_000_000):
        if refusal is None:
            scan(data, EXPLICIT_LITTLE)
        else:
            with pytest.raises(MalformedDataSet, match=refusal):
                scan(data, EXPLICIT_LITTLE)


def test_c26_a_deflated_bomb_is_inflated_to_the_bound_and_no_further() -> None:
    bomb = deflated(bytes(192 << 20))
    assert len(bomb) < 200_000
    with address_space(300_000_000), pytest.raises(MalformedDataSet, match="128 MiB"):
        scan(bomb, DEFLATED)


class address_space:  # noqa: N801 - reads as what it is for
    """Allow this process only so many bytes more than it has now, so that an allocation beyond them fails."""

    def __init__(self, more: int) -> None:
        self._more = more

    def __enter__(self) -> None:
        self._before = resource.getrlimit(resource.RLIMIT_AS)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + self._more, self._before[1]))

    def __exit__(self, *_: object) -> None:
        resource.setrlimit(resource.RLIMIT_AS, self._before)


READS_THE_HEADER = """
import resource, sys
from pathlib import Path
from dicom_node.core.identifiers import SpoolKey
from dicom_node.report.identity import items_of
from dicom_node.services.messages import AnalyseJob
from dicom_node.services.workbench import _attributes, _header
pages = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (pages + 60_000_000, pages + 60_000_000))
header = _header(Path(sys.argv[1]), "1.2", "1.2.3", "1.2.3.4")
class Job: modality = "CR"
print(_attributes(header, Job()).modality, [len(items_of(header, "ReferencedImageSequence"))])
"""


def test_c24_the_worker_reads_a_header_with_an_error_text_bomb_in_60_mb(tmp_path: Path) -> None:
    path = tmp_path / "bomb.dcm"
    meta = b"\x02\0\x10\0UI\x14\x001.2.840.10008.1.2.1\0"
    path.write_bytes(bytes(128) + b"DICM\x02\0\0\0UL\x04\0" + struct.pack("<L", len(meta)) + meta + error_text_bomb())
    command = [sys.executable, "-c", READS_THE_HEADER, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith("CR [")


# C22 ------------------------------------------------------------------------------------------------------------------

_LIES = {
    "group length": b"\x08\0\0\0UL\x04\0\xff\xff\xff\x7f" + encoded(a_radiograph()),
    "undefined length of a string": b"\x08\0\x60\0UN\0\0\xff\xff\xff\xff" + b"AB",
    "longer than the rest": b"\x08\0\x70\0LO\xff\xff" + b"Acme",
    "item longer than its sequence": b"\x08\0\x40\x11SQ\0\0\x10\0\0\0\xfe\xff\0\xe0\xff\0\0\0" + bytes(300),
    "sequence longer than its item": (
        SQ_UNDEFINED + b"\xfe\xff\0\xe0\x10\0\0\0" + b"\x08\0\x40\x11SQ\0\0\xff\0\0\0" + bytes(300)
    ),
    "no value representation": b"\x08\0\x60\0\x01\x02\0\0",
    "cut in a header": b"\x08\0\x60\0O",
    "cut in a long header": b"\x08\0\x60\0OB\0\0\1",
    "delimiter of nothing": b"\xfe\xff\xdd\xe0\0\0\0\0",
    "element where an item must be": SQ_UNDEFINED + EMPTY_ELEMENT,
}


@pytest.mark.parametrize("name", _LIES)
def test_c22_a_length_that_lies_is_refused_and_never_allocated(name: str) -> None:
    with address_space(30_000_000):
        if name == "group length":  # retired, of no use to anyone, and therefore not believed
            assert scan(_LIES[name], EXPLICIT_LITTLE).sop_instance_uid == "1.2.3.4"
            return
        with pytest.raises(MalformedDataSet, match="malformed at byte"):
            scan(_LIES[name], EXPLICIT_LITTLE)


# C28: the four decoder bombs ---------------------------------------------------------------------------------------


def _patched(frame: bytes, marker: bytes, offset: int, values: bytes) -> bytes:
    at = frame.index(marker) + offset
    return frame[:at] + values + frame[at + len(values) :]


def bomb_frames() -> dict[str, tuple[str, bytes]]:
    """Return codestreams of a few hundred bytes whose headers ask for gigabytes, each with its transfer syntax."""
    grey = np.zeros((64, 64), np.uint8)
    side = struct.pack(">HH", 65500, 65500)
    return {
        "JPEG": ("1.2.840.10008.1.2.4.50", _patched(imagecodecs.jpeg8_encode(grey), b"\xff\xc0", 5, side)),
        "JPEG-LS": ("1.2.840.10008.1.2.4.80", _patched(imagecodecs.jpegls_encode(grey), b"\xff\xf7", 5, side)),
        "JPEG 2000": (
            "1.2.840.10008.1.2.4.90",
            _patched(
                imagecodecs.jpeg2k_encode(grey, codecformat="j2k"), b"\xff\x51", 6, struct.pack(">II", 60000, 60000)
            ),
        ),
        "RLE": (RLE, struct.pack("<16L", 15, *(64 + n for n in range(15))) + b"\x81\0" * 16),
    }


@pytest.mark.parametrize("name", ["JPEG", "JPEG-LS", "JPEG 2000", "RLE"])
def test_case_c28_a_codestream_that_asks_for_gigabytes_is_refused_within_50_mb(write_image: Any, name: str) -> None:
    syntax, frame = bomb_frames()[name]
    assert len(frame) < 700
    path = write_image(syntax=syntax, frame=frame)
    with address_space(50_000_000), pytest.raises(NotAnalysable) as caught:
        decode(path)
    assert caught.value.reason.code is ReasonCode.UNDECODABLE


# C29: damaged codestreams ------------------------------------------------------------------------------------------


def test_case_c29_changed_bytes_are_decoded_or_refused_and_cost_no_child(write_image: Any) -> None:
    random = Random(29)  # noqa: S311 - drawn, and every time the same
    frames = {
        "1.2.840.10008.1.2.4.57": imagecodecs.ljpeg_encode(CODES, bitspersample=12),
        "1.2.840.10008.1.2.4.80": imagecodecs.jpegls_encode(CODES),
        "1.2.840.10008.1.2.4.90": imagecodecs.jpeg2k_encode(CODES, codecformat="j2k"),
        "1.2.840.10008.1.2.4.50": imagecodecs.jpeg8_encode((CODES >> 4).astype(np.uint8)),
    }
    seen: Counter[str] = Counter()
    with DecodePool(DecodeLimits()) as pool:
        for syntax, frame in frames.items():
            for _ in range(40):
                damaged = bytearray(frame)
                for _ in range(random.randint(1, 4)):
                    damaged[random.randrange(len(damaged))] = random.randrange(256)
                try:
                    pool.decode(write_image(syntax=syntax, frame=bytes(damaged)))
                    seen["decoded"] += 1
                except NotAnalysable as refused:
                    seen["lost" if "the decoder" in refused.reason.text else "refused"] += 1
    assert seen["lost"] == 0
    assert min(seen["decoded"], seen["refused"]) > 10


def test_case_c29_fragments_and_offset_tables_that_lie_change_nothing_or_are_refused() -> None:
    frame = imagecodecs.jpegls_encode(CODES)
    frame += b"\0" * (len(frame) % 2)
    cut = [frame[at : at + 500] for at in range(0, len(frame), 500)]
    for table in (b"", struct.pack("<L", 0xFFFFFFF0), struct.pack("<4L", 0, 8, 4, 10**9)):
        pieces = [_item(table), *(_item(piece) for piece in cut), b"\xfe\xff\xdd\xe0\0\0\0\0"]
        assert codestream.join_fragments(b"".join(pieces)) == frame
    whole = encapsulate([frame])
    broken = [
        whole[:-20],
        whole.replace(b"\xfe\xff\x00\xe0", b"\xfe\xff\x01\xe0"),
        _item(b""),
        _item(b"") * 3,
        whole[:8],
    ]
    for data in (*broken, _item(b"")[:4] + b"\xff\xff\xff\xff"):
        with pytest.raises(NotAnalysable):
            codestream.join_fragments(data)


def _item(value: bytes) -> bytes:
    return b"\xfe\xff\x00\xe0" + struct.pack("<L", len(value)) + value
