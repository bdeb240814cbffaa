"""From a Part 10 file to a radiograph, in every transfer syntax a radiograph comes in.

Every bound is checked before a decoder runs, and nothing a library says reaches the message: it may hold patient data.
Meant to run inside `sandbox.DecodePool`, since a codec may still crash on hostile bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import imagecodecs
import numpy as np
import pydicom

from dicom_node.core.errors import NotAnalysable
from dicom_node.core.findings import Reason, ReasonCode
from dicom_node.core.radiograph import Radiograph
from dicom_node.part10 import codestream, greyscale
from dicom_node.part10.codestream import Family, FrameHeader

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

MAX_PIXEL_BYTES: Final = 256 * 1024 * 1024
"""No projection image comes near it; the largest digital detectors make about 50 MiB."""

_BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"
_RLE: Final = "1.2.840.10008.1.2.5"
_NATIVE: Final = frozenset({"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", _BIG_ENDIAN})
_FAMILIES: Final = {
    **{f"1.2.840.10008.1.2.4.{n}": Family.JPEG for n in (50, 51, 57, 70)},
    **{f"1.2.840.10008.1.2.4.{n}": Family.JPEG_LS for n in (80, 81)},
    **{f"1.2.840.10008.1.2.4.{n}": Family.JPEG_2000 for n in (90, 91, 201, 202, 203)},
}
# imagecodecs brings libjpeg-turbo 3 (8 and 12 bit, lossless to 16 bit), CharLS and OpenJPEG (HTJ2K as well).
_CODECS: Final[dict[Family, Callable[[bytes], Any]]] = {
    Family.JPEG: imagecodecs.jpeg8_decode,
    Family.JPEG_LS: imagecodecs.jpegls_decode,
    Family.JPEG_2000: imagecodecs.jpeg2k_decode,
}
_KEYWORDS: Final = (
    "SamplesPerPixel",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelData",
    "FloatPixelData",
    "DoubleFloatPixelData",
    *greyscale.KEYWORDS,
)


@dataclass(frozen=True, slots=True)
class _Layout:
    """The data set's word on its pixels; sizes in pixels, depths in bits."""

    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    shift: int  # unused bits below the stored ones
    signed: bool


@dataclass(frozen=True, slots=True)
class _Codes:
    """Stored codes, uint8 or uint16 [rows, columns], each below 2**bits."""

    plane: NDArray[np.uint8] | NDArray[np.uint16]
    bits: int
    signed: bool


def decode(path: Path) -> Radiograph:
    """Return the radiograph in a Part 10 file: grey, full scale, bone bright (PS3.4 N.2).

    Raises NotAnalysable for everything that is no single greyscale frame, is too large, or cannot be decoded, and
    MemoryError where the process may not have more; the file's data set never reaches a message.
    """
    with _undecodable("the file cannot be read as a DICOM data set"):
        dataset = pydicom.dcmread(path, specific_tags=list(_KEYWORDS))
        transfer_syntax = str(dataset.file_meta.TransferSyntaxUID)
    with _undecodable("the attributes that describe the pixels cannot be read"):
        layout = _layout(dataset)
    with _undecodable("the pixel data cannot be decoded"):
        codes = _codes(dataset, layout, transfer_syntax)
    with _undecodable("the attributes that describe the grey scale cannot be read"):
        return _render(dataset, codes, little_endian=transfer_syntax != _BIG_ENDIAN)


@contextmanager
def _undecodable(text: str) -> Iterator[None]:
    try:
        yield
    except (NotAnalysable, MemoryError):
        raise
    except Exception:  # noqa: BLE001 - on hostile bytes pydicom and the codecs raise anything
        raise NotAnalysable(Reason(ReasonCode.UNDECODABLE, text)) from None


def _layout(dataset: Dataset) -> _Layout:
    """Read and judge everything the data set says about its pixels, before any of them is touched."""
    if "PixelData" not in dataset:
        if "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset:
            _refuse(ReasonCode.IMAGE_KIND, "the pixels are floating point numbers, which no radiograph has")
        _refuse(ReasonCode.NO_PIXELS, "the object holds no pixel data, or they are cut short")
    rows, columns = _whole(dataset, "Rows"), _whole(dataset, "Columns")
    samples, frames = _whole(dataset, "SamplesPerPixel", 1), _whole(dataset, "NumberOfFrames", 1)
    allocated = _whole(dataset, "BitsAllocated")
    size = rows * columns * samples * max(frames, 1) * ((allocated + 7) // 8)
    if min(rows, columns, samples, allocated) <= 0 or size > MAX_PIXEL_BYTES:
        _refuse(ReasonCode.IMPLAUSIBLE_SIZE, f"an image of {rows} x {columns} pixels of this depth is not plausible")
    _check_kind(dataset, samples, frames, allocated)
    stored = _whole(dataset, "BitsStored", allocated)
    high = _whole(dataset, "HighBit", stored - 1)
    if not 1 <= stored <= high + 1 <= allocated:
        _refuse(ReasonCode.UNDECODABLE, "bits allocated, bits stored and high bit contradict one another")
    return _Layout(
        rows, columns, allocated, stored, high + 1 - stored, signed=_whole(dataset, "PixelRepresentation") == 1
    )


def _check_kind(dataset: Dataset, samples: int, frames: int, allocated: int) -> None:
    photometric = dataset.get("PhotometricInterpretation")
    if samples != 1 or (photometric and photometric not in {"MONOCHROME1", "MONOCHROME2"}):
        _refuse(ReasonCode.IMAGE_KIND, "the image is in colour, which no radiograph is")
    if not photometric:
        _refuse(ReasonCode.IMAGE_KIND, "the image does not say which end of its scale is white")
    if frames > 1:
        _refuse(ReasonCode.IMAGE_KIND, f"the object holds {frames} frames, a radiograph has one")
    if allocated not in {8, 16}:
        _refuse(ReasonCode.IMAGE_KIND, f"{allocated} bits are allocated to a pixel, a radiograph has 8 or 16")


def _whole(dataset: Dataset, keyword: str, default: int = 0) -> int:
    value = dataset.get(keyword)
    if value is None or value == "":
        return default
    return int(value)


def _codes(dataset: Dataset, layout: _Layout, transfer_syntax: str) -> _Codes:
    element = dataset["PixelData"]
    data: bytes = element.value or b""
    if not data:
        _refuse(ReasonCode.NO_PIXELS, "the pixel data are empty")
    if transfer_syntax in _NATIVE:
        big = transfer_syntax == _BIG_ENDIAN
        return _stored(layout, _native(layout, data, big=big, words=element.VR == "OW"))
    if transfer_syntax == _RLE:
        return _stored(layout, _run_length(layout, codestream.join_fragments(data)))
    if transfer_syntax in _FAMILIES:
        return _compressed(layout, codestream.join_fragments(data), _FAMILIES[transfer_syntax])
    return _refuse(ReasonCode.UNDECODABLE, "the transfer syntax is none that this node can decode")


def _native(layout: _Layout, data: bytes, *, big: bool, words: bool) -> NDArray[Any]:
    expected = layout.rows * layout.columns * (layout.bits_allocated // 8)
    if len(data) != expected + expected % 2 and len(data) != expected:
        text = f"{layout.rows} x {layout.columns} pixels need {expected} bytes, the file holds {len(data)}"
        _refuse(ReasonCode.IMPLAUSIBLE_SIZE, text)
    if layout.bits_allocated == 8:  # noqa: PLR2004 - one byte a pixel
        plane = np.frombuffer(data, dtype=np.uint8)
        if big and words and plane.size % 2 == 0:  # bytes written as 16-bit words arrive swapped (PS3.5 8.1.1)
            plane = plane.reshape(-1, 2)[:, ::-1].reshape(-1)
        return plane[:expected].reshape(layout.rows, layout.columns)
    order = ">u2" if big else "<u2"
    return np.frombuffer(data, dtype=order, count=expected // 2).reshape(layout.rows, layout.columns)


def _run_length(layout: _Layout, frame: bytes) -> NDArray[Any]:
    width = layout.bits_allocated // 8
    codestream.check_rle(frame, segments=width)
    plane = np.zeros((layout.rows, layout.columns), dtype=f"<u{width}")
    decoded = imagecodecs.dicomrle_decode(frame, plane.dtype)
    flat = np.frombuffer(decoded, dtype=plane.dtype) if isinstance(decoded, (bytes, bytearray)) else decoded
    if flat.size < plane.size:
        _refuse(ReasonCode.UNDECODABLE, "the RLE segments end before the last pixel")
    plane[...] = flat.reshape(-1)[: plane.size].reshape(plane.shape)
    return plane


def _stored(layout: _Layout, plane: NDArray[Any]) -> _Codes:
    """Cut the stored bits out of the allocated ones; old overlays live in the others."""
    if layout.bits_stored < layout.bits_allocated:
        lowest = plane >> layout.shift if layout.shift else plane
        plane = lowest & ((1 << layout.bits_stored) - 1)
    return _Codes(plane, layout.bits_stored, layout.signed)


def _compressed(layout: _Layout, frame: bytes, family: Family) -> _Codes:
    header = codestream.read_header(frame, family)
    _check_header(layout, header)
    plane = np.asarray(_CODECS[family](frame))
    if plane.shape != (layout.rows, layout.columns) or plane.dtype.kind not in "iu" or plane.dtype.itemsize > 2:  # noqa: PLR2004 - bytes
        _refuse(ReasonCode.UNDECODABLE, "the decoder's image is not of the announced size")
    # A codestream keeps its values in its low bits, whatever the data set says; a lone JPEG 2000 sign bit is believed.
    bits = min(header.precision, layout.bits_stored)
    shift = layout.shift if header.precision > layout.bits_stored else 0
    unsigned = plane.view(f"u{plane.dtype.itemsize}")
    if shift or bits < 8 * plane.dtype.itemsize:
        unsigned = (unsigned >> shift) & ((1 << bits) - 1)
    return _Codes(unsigned, bits, layout.signed or header.signed)


def _check_header(layout: _Layout, header: FrameHeader) -> None:
    if (header.rows, header.columns) != (layout.rows, layout.columns):
        text = (
            f"the compressed image is {header.rows} x {header.columns} pixels, "
            f"the data set says {layout.rows} x {layout.columns}"
        )
        _refuse(ReasonCode.UNDECODABLE, text)
    if header.components != 1:
        _refuse(ReasonCode.UNDECODABLE, f"the compressed image has {header.components} components, the data set says 1")
    if not 1 < header.precision <= layout.bits_allocated:
        text = f"the compressed image has {header.precision} bits, the data set allocates {layout.bits_allocated}"
        _refuse(ReasonCode.UNDECODABLE, text)


def _render(dataset: Dataset, codes: _Codes, *, little_endian: bool) -> Radiograph:
    def present() -> NDArray[np.bool_]:
        occurs = np.zeros(1 << codes.bits, dtype=np.bool_)
        occurs[codes.plane.reshape(-1)] = True
        return occurs

    values = greyscale.code_values(codes.bits, signed=codes.signed)
    table = greyscale.grey_table(dataset, values, present, little_endian=little_endian)
    return Radiograph(np.take(table, codes.plane))


def _refuse(code: ReasonCode, text: str) -> NoReturn:
    raise NotAnalysable(Reason(code, text))
