"""Where the data set begins in a Part 10 file, found without a parser: one that a power cut tore may hold anything."""

from __future__ import annotations

import struct

from dicom_node.core.errors import MalformedDataSet

_PREAMBLE = 132
_HEADER = struct.Struct("<HH2sH")
_LENGTH_ELEMENT = 12
_TRANSFER_SYNTAX = 0x0010
_LONGEST = 4096


def split(file: memoryview) -> tuple[str, int]:
    """Return the transfer syntax UID and the offset of the data set (PS3.10 7.1).

    Raises MalformedDataSet where there is no file meta information of plausible length.
    """
    message = "the file has no file meta information"
    start = _PREAMBLE + _LENGTH_ELEMENT
    if len(file) < start or bytes(file[128:_PREAMBLE]) != b"DICM":
        raise MalformedDataSet(message)
    group, element, _, _ = _HEADER.unpack_from(file, _PREAMBLE)
    (length,) = struct.unpack_from("<I", file, _PREAMBLE + 8)
    if (group, element) != (0x0002, 0) or length > min(_LONGEST, len(file) - start):
        raise MalformedDataSet(message)
    return _transfer_syntax(file[start : start + length]), start + length


def _transfer_syntax(meta: memoryview) -> str:
    position = 0
    while position + _HEADER.size <= len(meta):
        _, element, representation, size = _HEADER.unpack_from(meta, position)
        position += _HEADER.size
        if representation in {b"OB", b"UN"} and position + 4 <= len(meta):
            (size,) = struct.unpack_from("<I", meta, position)
            position += 4
        if element == _TRANSFER_SYNTAX:
            return bytes(meta[position : position + size]).decode("ascii", "replace").strip("\0 ")
        position += size
    message = "the file does not name its transfer syntax"
    raise MalformedDataSet(message)
