"""What a compressed frame says about itself, read from its first bytes alone.

A decoder allocates what the codestream asks for, not what the data set promised (CVE-2026-5442 and its kin), so both
are compared here before any decoder sees a byte. Nothing is decompressed and nothing of a declared size is allocated.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum
from typing import Final, NoReturn

from dicom_node.core.errors import NotAnalysable
from dicom_node.core.findings import Reason, ReasonCode

_ITEM: Final = b"\xfe\xff\x00\xe0"
_SEQUENCE_END: Final = b"\xfe\xff\xdd\xe0"
_END_OF_IMAGE: Final = b"\xff\xd9"  # EOI and EOC alike; no entropy-coded data may hold these two bytes
_MARKER: Final = 0xFF  # opens every marker, and fills the gap before one
_START_OF_SCAN: Final = 0xDA
_JPEG_LS_FRAME: Final = 0xF7
_JPEG_FRAMES: Final = frozenset({0xC0, 0xC1, 0xC2, 0xC3})
_OTHER_FRAMES: Final = frozenset({0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})  # hierarchical, arithmetic
_STANDALONE: Final = frozenset({0x01, *range(0xD0, 0xD9)})
_J2K_START: Final = b"\xff\x4f\xff\x51"
_JP2_SIGNATURE: Final = b"\x00\x00\x00\x0cjP  "
_RLE_HEADER: Final = struct.Struct("<16I")
_RLE_SEGMENTS_MAX: Final = 15


class Family(str, Enum):
    """The codecs that a transfer syntax may name."""

    JPEG = "JPEG"
    JPEG_LS = "JPEG-LS"
    JPEG_2000 = "JPEG 2000"


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """A codestream's own word on its frame; sizes in pixels, precision in bits."""

    family: Family
    rows: int
    columns: int
    components: int
    precision: int
    signed: bool


def join_fragments(encapsulated: bytes) -> bytes:
    """Return the one frame in encapsulated pixel data: all items after the offset table, joined (PS3.5 A.4).

    Raises NotAnalysable where an item runs past the end or something else stands in an item's place.
    """
    fragments: list[bytes] = []
    at, first = 0, True
    while at + 8 <= len(encapsulated):
        tag, length = encapsulated[at : at + 4], int.from_bytes(encapsulated[at + 4 : at + 8], "little")
        if tag == _SEQUENCE_END:
            break
        if tag != _ITEM or length > len(encapsulated) - at - 8:
            _refuse("the fragments of the compressed image are damaged or cut short")
        if not first:  # the first item is the offset table, of no use for a single frame
            fragments.append(encapsulated[at + 8 : at + 8 + length])
        at, first = at + 8 + length, False
    frame = b"".join(fragments)
    if not frame:
        _refuse("the compressed image is empty")
    return frame


def read_header(frame: bytes, family: Family) -> FrameHeader:
    """Return what the codestream says of itself; raises NotAnalysable where it is not of this family, or cut short."""
    header, scan = _read_jpeg_2000(frame) if family is Family.JPEG_2000 else _read_jpeg(frame)
    if header.family is not family:
        _refuse(f"the image is compressed as {header.family.value}, its transfer syntax says {family.value}")
    if frame.find(_END_OF_IMAGE, scan) < 0:
        _refuse("the compressed image ends before its end marker, so a part of it is missing")
    return header


def check_rle(frame: bytes, segments: int) -> None:
    """Raise NotAnalysable unless the RLE header (PS3.5 G.5) names this many segments, in order and inside the frame."""
    if len(frame) < _RLE_HEADER.size:
        _refuse("the RLE header is cut short")
    count, *offsets = _RLE_HEADER.unpack_from(frame)
    if count != segments or count > _RLE_SEGMENTS_MAX:
        _refuse(f"the RLE header names {count} segments, the data set needs {segments}")
    used = offsets[:count]
    if used[0] != _RLE_HEADER.size or any(a >= b for a, b in zip(used, [*used[1:], len(frame)], strict=True)):
        _refuse("the RLE segments lie outside the frame or out of order")


def _read_jpeg(frame: bytes) -> tuple[FrameHeader, int]:
    """Walk the marker segments to the frame header, and return it with the offset at which the scans may begin."""
    if frame[:2] != b"\xff\xd8":
        _refuse("the compressed image does not begin as its transfer syntax demands")
    at = 2
    while at + 4 <= len(frame):
        if frame[at] != _MARKER:
            break
        marker = frame[at + 1]
        if marker == _MARKER:
            at += 1
            continue
        if marker in _STANDALONE:
            at += 2
            continue
        length = int.from_bytes(frame[at + 2 : at + 4], "big")
        if marker == _START_OF_SCAN or marker in _OTHER_FRAMES or length < 2:  # noqa: PLR2004 - it counts itself
            break
        if marker == _JPEG_LS_FRAME or marker in _JPEG_FRAMES:
            return _jpeg_frame(frame, at, length), at + 2 + length
        at += 2 + length
    return _refuse("the compressed image has no frame header that this node can decode")


def _jpeg_frame(frame: bytes, at: int, length: int) -> FrameHeader:
    if length < 8 or at + 10 > len(frame):  # noqa: PLR2004 - the fixed part of SOFn, T.81 B.2.2
        _refuse("the header of the compressed image is cut short")
    precision, rows, columns, components = struct.unpack_from(">BHHB", frame, at + 4)
    family = Family.JPEG_LS if frame[at + 1] == _JPEG_LS_FRAME else Family.JPEG
    return FrameHeader(family, rows, columns, components, precision, signed=False)


def _read_jpeg_2000(frame: bytes) -> tuple[FrameHeader, int]:
    """Read SIZ (T.800 A.5.1), also where a JP2 file was put into the frame whole, which some writers do."""
    start = frame.find(_J2K_START) if frame.startswith(_JP2_SIGNATURE) else 0
    if start < 0 or not frame.startswith(_J2K_START, start):
        _refuse("the compressed image does not begin as its transfer syntax demands")
    if len(frame) < start + 45:
        _refuse("the header of the compressed image is cut short")
    right, bottom, left, top = struct.unpack_from(">4I", frame, start + 8)
    tile_columns, tile_rows, tile_left, tile_top = struct.unpack_from(">4I", frame, start + 24)
    components, depth, step_x, step_y = struct.unpack_from(">HBBB", frame, start + 40)
    outside = right <= left or bottom <= top or tile_left > left or tile_top > top
    if outside or step_x != 1 or step_y != 1 or not tile_columns or not tile_rows:
        _refuse("the header of the compressed image contradicts itself")
    header = FrameHeader(
        Family.JPEG_2000, bottom - top, right - left, components, (depth & 0x7F) + 1, signed=bool(depth & 0x80)
    )
    return header, start + 45


def _refuse(text: str) -> NoReturn:
    raise NotAnalysable(Reason(ReasonCode.UNDECODABLE, text))
