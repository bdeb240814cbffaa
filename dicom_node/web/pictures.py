"""Pictures of results for a browser: from our own uncompressed Secondary Captures, so nothing is decoded here."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO
from typing import TYPE_CHECKING

from dicom_node.ledger import recent

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image as Picture
    from pydicom.dataset import Dataset

    from dicom_node.ledger.spool import StateFolders

_SMALL = (240, 200)
_LARGEST_BYTES = 64 << 20


class Pictures:
    """Finds pictures by their SOP Instance UID: in the ledger's rows only, never by a name from outside."""

    def __init__(self, folders: StateFolders) -> None:
        self._folders = folders

    def png(self, sop_instance_uid: str, *, small: bool) -> bytes | None:
        """Return a picture as PNG; None where there is none, or its file was removed."""
        file = self._file(sop_instance_uid)
        if file is None:
            return None
        return _thumbnail(file, file.stat().st_mtime_ns) if small else _png(file)

    def patient_name(self, sop_instance_uid: str) -> str:
        """Return the patient's name in a picture; empty where there is none."""
        file = self._file(sop_instance_uid)
        return "" if file is None else _name(file, file.stat().st_mtime_ns)

    def _file(self, sop_instance_uid: str) -> Path | None:
        with recent.reading(self._folders.ledger) as connection:
            relative = recent.picture_file(connection, sop_instance_uid)
        if relative is None:
            return None
        file = (self._folders.root / relative).resolve()
        inside = file.is_relative_to(self._folders.results.resolve())
        return file if inside and file.is_file() and file.stat().st_size <= _LARGEST_BYTES else None


@lru_cache(maxsize=128)
def _thumbnail(file: Path, _changed: int) -> bytes:
    image = _image(_dataset(file, with_pixels=True))
    image.thumbnail(_SMALL)  # the browser shows its left: the radiograph, without the words beside it
    return _encode(image)


def _png(file: Path) -> bytes:
    return _encode(_image(_dataset(file, with_pixels=True)))


def _encode(image: Picture) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


@lru_cache(maxsize=256)
def _name(file: Path, _changed: int) -> str:
    name = str(_dataset(file, with_pixels=False).get("PatientName", "") or "")
    family, _, given = name.partition("=")[0].partition("^")
    return ", ".join(part for part in (family, given.replace("^", " ").strip()) if part)


def _dataset(file: Path, *, with_pixels: bool) -> Dataset:
    from pydicom import dcmread  # noqa: PLC0415 - a page without pictures does without

    return dcmread(file, stop_before_pixels=not with_pixels)


def _image(dataset: Dataset) -> Picture:
    from PIL import Image  # noqa: PLC0415 - as above

    size = (int(dataset.Columns), int(dataset.Rows))
    samples = int(dataset.SamplesPerPixel)
    mode = "RGB" if samples == 3 else "L"  # noqa: PLR2004 - red, green, blue
    length = size[0] * size[1] * samples
    return Image.frombytes(mode, size, bytes(dataset.PixelData)[:length])
