"""The PDUs of the DICOM upper layer (PS3.8 9.3) that a node which only accepts associations reads and writes.

Every length is checked against what is there before anything is sliced; nothing is allocated by a declared length.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

from dicom_node.core.errors import Permanent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HEADER = struct.Struct(">BxI")
PDV_HEADER = struct.Struct(">IBB")
ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)
MAX_ASSOCIATE_RQ = 256 * 1024  # 128 contexts with a dozen transfer syntaxes each take about 100 KiB
RELEASE_RESPONSE = HEADER.pack(RELEASE_RP, 4) + bytes(4)
COMMAND, LAST = 1, 2  # bits of the message control header (PS3.8 E.2)

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
IMPLEMENTATION_CLASS_UID = "2.25.218327492316450712363571604125893610113"
IMPLEMENTATION_VERSION = "DICOMNODE_0"

_MAX_CONTEXTS = 128  # PS3.8 9.3.2.2: the odd numbers from 1 to 255
_APPLICATION, _CONTEXT_RQ, _CONTEXT_AC, _ABSTRACT, _TRANSFER, _USER = 0x10, 0x20, 0x21, 0x30, 0x40, 0x50
_MAXIMUM_LENGTH, _IMPLEMENTATION_UID, _ROLE, _IMPLEMENTATION_VERSION = 0x51, 0x52, 0x54, 0x55
_FIXED = 68  # protocol version, AE titles and reserved fields, before the first item
_ITEM = struct.Struct(">BxH")


class AbortReason(IntEnum):
    """Why the service provider aborts (PS3.8 9.3.8)."""

    NOT_SPECIFIED = 0
    UNRECOGNISED_PDU = 1
    UNEXPECTED_PDU = 2
    UNRECOGNISED_PARAMETER = 4
    UNEXPECTED_PARAMETER = 5
    INVALID_PARAMETER = 6


class ProtocolViolation(Permanent):
    """What the peer sent is not DICOM's upper layer; `reason` is what A-ABORT tells it."""

    def __init__(self, message: str, reason: AbortReason = AbortReason.INVALID_PARAMETER) -> None:
        super().__init__(message)
        self.reason = reason


class Rejection(Permanent):
    """An association is not accepted; result, source and reason as in A-ASSOCIATE-RJ (PS3.8 9.3.4)."""

    def __init__(self, message: str, result: int, source: int, reason: int) -> None:
        super().__init__(message)
        self.result, self.source, self.reason = result, source, reason

    def encode(self) -> bytes:
        """Return the A-ASSOCIATE-RJ PDU."""
        return HEADER.pack(ASSOCIATE_RJ, 4) + bytes((0, self.result, self.source, self.reason))


@dataclass(frozen=True, slots=True)
class ProposedContext:
    """A presentation context as the peer proposes it."""

    identifier: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AssociateRequest:
    """An A-ASSOCIATE-RQ: titles without padding; roles are (SCU, SCP) by SOP class; max_length 0 is unlimited."""

    called_ae: str
    calling_ae: str
    application_context: str
    protocol_version: int
    contexts: tuple[ProposedContext, ...]
    max_length: int = 0
    roles: dict[str, tuple[bool, bool]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ContextAnswer:
    """What becomes of a proposed context: 0 accepted, 3 abstract syntax, 4 transfer syntaxes not supported."""

    identifier: int
    result: int
    transfer_syntax: str


def decode_request(body: bytes) -> AssociateRequest:
    """Return the A-ASSOCIATE-RQ in a PDU's body. Raises ProtocolViolation where it is not one."""
    if len(body) < _FIXED:
        message = "A-ASSOCIATE-RQ is too short"
        raise ProtocolViolation(message)
    application, max_length, contexts = "", 0, []
    roles: dict[str, tuple[bool, bool]] = {}
    for kind, value in _items(body, _FIXED):
        if kind == _APPLICATION:
            application = _uid(value)
        elif kind == _CONTEXT_RQ:
            contexts.append(_proposed(value))
        elif kind == _USER:
            max_length, roles = _user_information(value)
    _check_identifiers([context.identifier for context in contexts])
    return AssociateRequest(
        called_ae=_title(body[4:20]),
        calling_ae=_title(body[20:36]),
        application_context=application,
        protocol_version=int.from_bytes(body[:2], "big"),
        contexts=tuple(contexts),
        max_length=max_length,
        roles=roles,
    )


def encode_acceptance(
    body: bytes, answers: Sequence[ContextAnswer], max_length: int, roles: dict[str, tuple[bool, bool]]
) -> bytes:
    """Return the A-ASSOCIATE-AC PDU that answers the request in `body`, whose titles are sent back as they came."""
    items = [_item(_APPLICATION, APPLICATION_CONTEXT.encode())]
    for answer in answers:
        head = bytes((answer.identifier, 0, answer.result, 0))
        items.append(_item(_CONTEXT_AC, head + _item(_TRANSFER, answer.transfer_syntax.encode())))
    user = [_item(_MAXIMUM_LENGTH, struct.pack(">I", max_length))]
    user.append(_item(_IMPLEMENTATION_UID, IMPLEMENTATION_CLASS_UID.encode()))
    for uid, (scu, scp) in roles.items():
        user.append(_item(_ROLE, struct.pack(">H", len(uid)) + uid.encode() + bytes((scu, scp))))
    user.append(_item(_IMPLEMENTATION_VERSION, IMPLEMENTATION_VERSION.encode()))
    items.append(_item(_USER, b"".join(user)))
    payload = b"\x00\x01\x00\x00" + body[4:36] + bytes(32) + b"".join(items)
    return HEADER.pack(ASSOCIATE_AC, len(payload)) + payload


def encode_abort(source: int, reason: int) -> bytes:
    """Return an A-ABORT PDU; source 2 is the service provider, 0 the user."""
    return HEADER.pack(ABORT, 4) + bytes((0, 0, source, reason))


def encode_command(context_id: int, command: bytes, max_length: int) -> bytes:
    """Return the P-DATA-TF PDUs that carry a command set, in pieces that the peer takes (0: any)."""
    room = max(max_length - PDV_HEADER.size, 2) if max_length else len(command)
    pdus = []
    for start in range(0, len(command), room):
        piece = command[start : start + room]
        control = COMMAND | (LAST if start + room >= len(command) else 0)
        pdv = PDV_HEADER.pack(len(piece) + 2, context_id, control) + piece
        pdus.append(HEADER.pack(P_DATA, len(pdv)) + pdv)
    return b"".join(pdus)


def _items(body: bytes, start: int) -> Iterator[tuple[int, bytes]]:
    """Yield (type, value) of the items that fill a body from `start` to its end."""
    while start < len(body):
        if start + _ITEM.size > len(body):
            message = "an item of A-ASSOCIATE-RQ ends inside its header"
            raise ProtocolViolation(message)
        kind, length = _ITEM.unpack_from(body, start)
        start += _ITEM.size
        if start + length > len(body):
            message = "an item of A-ASSOCIATE-RQ is longer than what holds it"
            raise ProtocolViolation(message)
        yield kind, body[start : start + length]
        start += length


def _proposed(value: bytes) -> ProposedContext:
    if len(value) < 4:  # noqa: PLR2004 - identifier, result and reserved bytes (PS3.8 9.3.2.2)
        message = "a presentation context is too short"
        raise ProtocolViolation(message)
    abstract, transfers = "", []
    for kind, item in _items(value, 4):
        if kind == _ABSTRACT:
            abstract = _uid(item)
        elif kind == _TRANSFER:
            transfers.append(_uid(item))
    if not transfers:
        message = "a presentation context has no transfer syntax"
        raise ProtocolViolation(message)
    return ProposedContext(value[0], abstract, tuple(transfers))


def _user_information(value: bytes) -> tuple[int, dict[str, tuple[bool, bool]]]:
    max_length, roles = 0, {}
    for kind, item in _items(value, 0):
        if kind == _MAXIMUM_LENGTH:
            if len(item) != 4:  # noqa: PLR2004 - an unsigned 32-bit number (PS3.8 D.1.1)
                message = "the maximum length is not a number of four bytes"
                raise ProtocolViolation(message)
            max_length = int.from_bytes(item, "big")
        elif kind == _ROLE:
            length = int.from_bytes(item[:2], "big")
            if len(item) != length + 4:
                message = "a role selection does not fill its item"
                raise ProtocolViolation(message)
            roles[_uid(item[2 : 2 + length])] = (item[-2] == 1, item[-1] == 1)
    return max_length, roles


def _check_identifiers(identifiers: list[int]) -> None:
    """Hold the context identifiers against PS3.8 9.3.2.2: 1 to 128 of them, odd, each once."""
    if not 1 <= len(identifiers) <= _MAX_CONTEXTS or len(set(identifiers)) != len(identifiers):
        message = "presentation contexts are missing, too many or numbered twice"
        raise ProtocolViolation(message)
    if any(identifier % 2 == 0 for identifier in identifiers):
        message = "a presentation context has an even number"
        raise ProtocolViolation(message)


def _item(kind: int, value: bytes) -> bytes:
    return _ITEM.pack(kind, len(value)) + value


def _uid(value: bytes) -> str:
    return value.decode("ascii", "replace").rstrip("\0 ")


def _title(value: bytes) -> str:
    return value.decode("ascii", "replace").strip(" \0")
