"""DIMSE command sets (PS3.7 6.3.1, E): a few elements of group 0000, always implicit VR little endian."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from dicom_node.dimse.pdu import ProtocolViolation

MAX_COMMAND = 16 * 1024  # the longest command of the standard has a few hundred bytes
_NO_DATA_SET = 0x0101
_RESPONSE = 0x8000
_ELEMENT = struct.Struct("<HHI")
_GROUP_LENGTH, _CLASS, _FIELD, _MESSAGE_ID, _RESPONDED_TO = 0x0000, 0x0002, 0x0100, 0x0110, 0x0120
_DATA_SET_TYPE, _STATUS, _COMMENT, _INSTANCE, _EVENT_TYPE = 0x0800, 0x0900, 0x0902, 0x1000, 0x1002
_COMMENT_LENGTH = 64  # (0000,0902) is LO


class Operation(IntEnum):
    """The command fields (PS3.7 E.1) that this node knows by name."""

    C_STORE = 0x0001
    C_ECHO = 0x0030
    N_EVENT_REPORT = 0x0100
    C_CANCEL = 0x0FFF


@dataclass(frozen=True, slots=True)
class Command:
    """A request as it came; UIDs are empty where it has none."""

    field: int
    message_id: int
    sop_class_uid: str
    sop_instance_uid: str
    event_type: int
    has_data_set: bool

    @property
    def is_response(self) -> bool:
        """Tell whether it answers a request that we never sent."""
        return bool(self.field & _RESPONSE)


def decode(command: bytes) -> Command:
    """Return a command set. Raises ProtocolViolation where it is none or lacks what every command has."""
    values: dict[int, bytes] = {}
    start = 0
    while start < len(command):
        if start + _ELEMENT.size > len(command):
            message = "a command set ends inside an element's header"
            raise ProtocolViolation(message)
        group, element, length = _ELEMENT.unpack_from(command, start)
        start += _ELEMENT.size
        if group != 0 or start + length > len(command):
            message = "a command set holds something else than group 0000, or less than it says"
            raise ProtocolViolation(message)
        values[element] = command[start : start + length]
        start += length
    kind = _number(values, _FIELD)
    answered = _number(values, _RESPONDED_TO)
    message_id = _number(values, _MESSAGE_ID)
    if kind is None or (message_id is None and answered is None):
        message = "a command set has no command field or no message ID"
        raise ProtocolViolation(message)
    return Command(
        field=kind,
        message_id=message_id or 0,
        sop_class_uid=_uid(values, _CLASS),
        sop_instance_uid=_uid(values, _INSTANCE),
        event_type=_number(values, _EVENT_TYPE) or 0,
        has_data_set=_number(values, _DATA_SET_TYPE) != _NO_DATA_SET,
    )


def encode_response(request: Command, status: int, comment: str = "") -> bytes:
    """Return the response to a request with a status and, where there is one, an Error Comment (PS3.7 C)."""
    elements = {
        _CLASS: _padded(request.sop_class_uid),
        _FIELD: struct.pack("<H", request.field | _RESPONSE),
        _RESPONDED_TO: struct.pack("<H", request.message_id),
        _DATA_SET_TYPE: struct.pack("<H", _NO_DATA_SET),
        _STATUS: struct.pack("<H", status),
        _COMMENT: _padded(comment[:_COMMENT_LENGTH], b" "),
        _INSTANCE: _padded(request.sop_instance_uid),
    }
    if request.field == Operation.N_EVENT_REPORT:
        elements[_EVENT_TYPE] = struct.pack("<H", request.event_type)
    body = b"".join(
        _ELEMENT.pack(0, element, len(value)) + value for element, value in sorted(elements.items()) if value
    )
    return _ELEMENT.pack(0, _GROUP_LENGTH, 4) + struct.pack("<I", len(body)) + body


def _number(values: dict[int, bytes], element: int) -> int | None:
    value = values.get(element, b"")
    return int.from_bytes(value, "little") if len(value) == 2 else None  # noqa: PLR2004 - US


def _uid(values: dict[int, bytes], element: int) -> str:
    return values.get(element, b"").decode("ascii", "replace").rstrip("\0 ")


def _padded(text: str, padding: bytes = b"\0") -> bytes:
    value = text.encode("ascii", "replace")
    return value + padding * (len(value) % 2)
