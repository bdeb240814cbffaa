"""Pictures of results for a browser: from our own uncompressed Secondary Captures, so nothing is decoded here."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO
from typing import TYPE_CHECKING, Any

from dicom_node.ledger import recent

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image as Picture
    from pydicom.dataset import Dataset

    from dicom_node.ledger.spool import StateFolders

_SMALL = (240, 200)
_LARGEST_BYTES = 64 << 20
_BOX = 4  # PIL.Image.Resampling.BOX: the mean
_SAME = 2  # steps of 256 that enlarging a page may change its own colour by
_DRAWN = 128  # of 255: half of a line


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
    image = without_words(_image(_dataset(file, with_pixels=True)))
    image.thumbnail(_SMALL)
    return _encode(image)


def without_words(page: Picture) -> Picture:
    """Return a heatmap's radiograph alone: no edges of the square, no words, which are to its right or below it.

    The page's own colour, which the last corner shows, is no grey, so a radiograph has none of it.
    """
    page = page.convert("RGB")
    drawn = _other_than(page, page.getpixel((page.width - 1, page.height - 1)))
    box = drawn.getbbox()
    if box is None:
        return page
    left, top, right, bottom = box
    third = ((right - left) // 3 or 1, (bottom - top) // 3 or 1)
    along = drawn.crop((left, top, right, top + third[1])).resize((right - left, 1), _BOX)
    down = drawn.crop((left, top, left + third[0], bottom)).resize((1, bottom - top), _BOX)
    return page.crop((left, top, left + _run(along.tobytes()), top + _run(down.tobytes())))


def _other_than(page: Picture, colour: Any) -> Picture:
    """Return 255 where a page has another colour, else 0."""
    from PIL import Image, ImageChops  # noqa: PLC0415 - a page without pictures does without

    bands = ImageChops.difference(page, Image.new("RGB", page.size, colour)).split()
    most = ImageChops.lighter(ImageChops.lighter(bands[0], bands[1]), bands[2])
    return most.point([0 if value <= _SAME else 255 for value in range(256)])


def _run(shares: bytes) -> int:
    """Return how many lines from the first on are of the picture; shares: 255 where all of a line is drawn."""
    return next((number for number, share in enumerate(shares) if share < _DRAWN), len(shares))


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
