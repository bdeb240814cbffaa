"""A bounded reader of the small data sets that a peer answers with: reports of storage commitment, matches of C-FIND.

They come from the network and are read in the node itself, so: sequences four deep at most, each byte once, no length
believed beyond the end. Its own because no library reads with a limit on depth.
"""

from __future__ import annotations

import struct
from typing import Union

from dicom_node.core.errors import MalformedDataSet

IMPLICIT_LITTLE, EXPLICIT_LITTLE = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
SYNTAXES = (IMPLICIT_LITTLE, EXPLICIT_LITTLE)

Item = dict[int, Union[bytes, list["Item"]]]  # noqa: UP007 - evaluated on 3.10
"""The values by tag; a sequence is a list of its items."""

_DEPTH = 4
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF
_LONG_VRS = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))


def read(data: bytes, transfer_syntax_uid: str, sequences: frozenset[int]) -> Item:
    """Return a data set; sequences: the tags that hold items, which implicit VR does not say.

    Raises MalformedDataSet.
    """
    if transfer_syntax_uid not in SYNTAXES:
        message = f"a data set in {transfer_syntax_uid} is not read here"
        raise MalformedDataSet(message)
    reader = _Reader(data, sequences, explicit=transfer_syntax_uid == EXPLICIT_LITTLE)
    try:
        return reader.data_set(0, len(data), 0)[0]
    except struct.error as error:
        message = "a data set ends inside an element"
        raise MalformedDataSet(message) from error


def text(item: Item, tag: int) -> str:
    """Return a value as text, empty where there is none."""
    value = item.get(tag, b"")
    return value.decode("ascii", "replace").strip(" \0") if isinstance(value, bytes) else ""


def items(item: Item, tag: int) -> list[Item]:
    """Return the items of a sequence, none where there is none."""
    value = item.get(tag, [])
    return value if isinstance(value, list) else []


class _Reader:
    def __init__(self, data: bytes, sequences: frozenset[int], *, explicit: bool) -> None:
        self._data = data
        self._sequences = sequences
        self._explicit = explicit

    def data_set(self, start: int, end: int, depth: int) -> tuple[Item, int]:
        """Return the elements from start to end, or to the end of their item, and where that is."""
        found: Item = {}
        while start < end:
            tag, length, start = self._header(start)
            if tag == _ITEM_END:
                return found, start
            if length == _UNDEFINED or tag in self._sequences:
                found[tag], start = self._items(start, self._end(start, length, end), depth + 1)
            else:
                until = self._end(start, length, end)
                found[tag] = self._data[start:until]
                start = until
        return found, start

    def _items(self, start: int, end: int, depth: int) -> tuple[list[Item], int]:
        found: list[Item] = []
        if depth > _DEPTH:
            message = "sequences are nested deeper than any answer's"
            raise MalformedDataSet(message)
        while start < end:
            tag, length, start = self._header(start)
            if tag == _SEQUENCE_END:
                return found, start
            if tag != _ITEM:
                message = "a sequence holds something else than items"
                raise MalformedDataSet(message)
            item, start = self.data_set(start, self._end(start, length, end), depth)
            found.append(item)
        return found, start

    def _end(self, start: int, length: int, limit: int) -> int:
        if length == _UNDEFINED:
            return limit
        if start + length > limit:
            message = "an element is longer than what holds it"
            raise MalformedDataSet(message)
        return start + length

    def _header(self, start: int) -> tuple[int, int, int]:
        """Return tag, length, and where the value begins."""
        group, element, length = struct.unpack_from("<HHI", self._data, start)
        if not self._explicit or group == 0xFFFE:  # noqa: PLR2004 - items have no VR
            return group << 16 | element, length, start + 8
        if self._data[start + 4 : start + 6] in _LONG_VRS:
            (length,) = struct.unpack_from("<I", self._data, start + 8)
            return group << 16 | element, length, start + 12
        return group << 16 | element, length >> 16, start + 8
