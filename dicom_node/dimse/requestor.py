"""An association as its requestor, on one blocking socket and in the caller's thread: every wait has an end.

pynetdicom encodes and reads the negotiation; the data sets go out as the bytes that they are on disk.
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from pynetdicom.pdu import A_ASSOCIATE_AC

from dicom_node.core.errors import DestinationUnavailable
from dicom_node.dimse.opening import MAX_CONTEXTS, Context, Peer, associate_request, connect

__all__ = ["MAX_CONTEXTS", "Context", "Incoming", "Peer", "Requestor"]

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pynetdicom.pdu_items import PresentationContextItemAC
    from typing_extensions import Buffer

_ACCEPT, _REJECT, _DATA, _RELEASE, _RELEASED, _ABORT = 2, 3, 4, 5, 6, 7  # PDU types, PS3.8 9.3
_COMMAND, _LAST = 1, 2  # message control header, PS3.8 E.2
_NO_DATA_SET = 0x0101
_LARGEST_ANSWER = 1 << 20
_LARGEST_PDU = 128 << 10  # where the peer would take more, or anything
_PARTS_A_CALL = 64
_SLOWEST_BYTES_S = 64 << 10  # an object may take its time-out, and as long as this rate needs for it
_LARGEST_MESSAGE = 4 << 20  # 25,000 references of a storage commitment
_MOST_MATCHES = 100
_RELEASE_WAIT_S = 5.0
_EVENT, _FOUND = 0x0100, 0x8020  # N-EVENT-REPORT-RQ and C-FIND-RSP, PS3.7 E.1: they may bring a data set
_PENDING = frozenset({0xFF00, 0xFF01})
_STALL_S = (0.036, 0.060)  # Linux holds an acknowledgement back for 40 ms

_REASONS = {
    (1, 2): "it does not know this application context",
    (1, 3): "it does not know our AE title",
    (1, 7): "it does not know the AE title it is called by",
    (3, 1): "it is busy",
    (3, 2): "it has too many associations",
}


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message of the peer: the values of its command by element number, and its data set."""

    context_id: int
    elements: dict[int, bytes]
    dataset: bytes

    def number(self, element: int) -> int:
        """Return a US of the command, -1 where it has none."""
        value = self.elements.get(element, b"")
        return int.from_bytes(value, "little") if len(value) == 2 else -1  # noqa: PLR2004 - a US


class Requestor:
    """An established association; `accepted` says by which context ID each proposed context may be used.

    on_event: takes each N-EVENT-REPORT that the peer sends on it, and returns the status for it.
    """

    def __init__(
        self,
        peer: Peer,
        calling_ae: str,
        contexts: Sequence[Context],
        on_event: Callable[[Incoming], int] | None = None,
    ) -> None:
        self._peer = peer
        self._deadline = time.monotonic() + peer.timeout_s
        self._message_id = 0
        self._quickack = False
        self._left: deque[tuple[int, int, bytes]] = deque()
        self._on_event = on_event
        self._socket = connect(peer)
        try:
            self._send([associate_request(peer, calling_ae, contexts)])
            self.accepted, self._maximum = self._negotiated(contexts)
        except BaseException:
            self._socket.close()
            raise

    def store(self, context: Context, sop_instance_uid: str, dataset: memoryview) -> int:
        """Send one encoded data set over an accepted context; returns the status of the answer."""
        elements = (
            (0x0002, _text(context[0])),
            (0x0100, b"\x01\x00"),
            (0x0110, self._next_id()),
            (0x0700, b"\x00\x00"),
            (0x0800, b"\x00\x00"),
            (0x1000, _text(sop_instance_uid)),
        )
        patience = self._peer.timeout_s + len(dataset) / _SLOWEST_BYTES_S
        return self._exchange(self.accepted[context], elements, dataset, patience)

    def echo(self, context: Context) -> int:
        """Send C-ECHO over an accepted context; returns the status of the answer."""
        elements = (
            (0x0002, _text(context[0])),
            (0x0100, b"\x30\x00"),
            (0x0110, self._next_id()),
            (0x0800, struct.pack("<H", _NO_DATA_SET)),
        )
        return self._exchange(self.accepted[context], elements, memoryview(b""), self._peer.timeout_s)

    def action(self, context: Context, sop_instance_uid: str, action_type: int, information: bytes) -> int:
        """Send N-ACTION with its information; returns the status of the answer."""
        elements = (
            (0x0003, _text(context[0])),
            (0x0100, b"\x30\x01"),
            (0x0110, self._next_id()),
            (0x0800, b"\x00\x00"),
            (0x1001, _text(sop_instance_uid)),
            (0x1008, struct.pack("<H", action_type)),
        )
        return self._exchange(self.accepted[context], elements, memoryview(information), self._peer.timeout_s)

    def find(self, context: Context, identifier: bytes) -> tuple[int, list[bytes]]:
        """Send C-FIND; returns the last status, and the identifiers of the matches."""
        elements = (
            (0x0002, _text(context[0])),
            (0x0100, b"\x20\x00"),
            (0x0110, self._next_id()),
            (0x0700, b"\x00\x00"),
            (0x0800, b"\x00\x00"),
        )
        self._deadline = time.monotonic() + self._peer.timeout_s
        self._send(_message(self.accepted[context], elements, memoryview(identifier), self._maximum))
        found: list[bytes] = []
        while (answer := self._response()).number(0x0900) in _PENDING:
            found.append(answer.dataset)
            if len(found) > _MOST_MATCHES:
                self._lose("answered C-FIND of one instance with many")
        return answer.number(0x0900), found

    def await_event(self, wait_s: float) -> bool:
        """Take and answer the next N-EVENT-REPORT; false where none begins within wait_s.

        Raises DestinationUnavailable where the peer ends the association.
        """
        if not self._has_news(wait_s):
            return False
        self._deadline = time.monotonic() + self._peer.timeout_s
        message = self._receive()
        if message.number(0x0100) != _EVENT:
            self._lose("sent something else than a report")
        self._take(message)
        return True

    def _take(self, event: Incoming) -> None:
        """Hand on a report and answer it at once: many a peer does nothing else before it has the answer."""
        if self._on_event is None:
            self._lose("sends reports that nobody asked for")
        elements = [
            (0x0002, event.elements.get(0x0002, b"")),
            (0x0100, b"\x00\x81"),
            (0x0120, event.elements.get(0x0110, b"\0\0")),
            (0x0800, struct.pack("<H", _NO_DATA_SET)),
            (0x0900, struct.pack("<H", self._on_event(event))),
            (0x1000, event.elements.get(0x1000, b"")),
            (0x1002, event.elements.get(0x1002, b"")),
        ]
        self._deadline = time.monotonic() + self._peer.timeout_s
        said = [(element, value) for element, value in elements if value]
        self._send(_message(event.context_id, said, memoryview(b""), self._maximum))

    def _has_news(self, wait_s: float) -> bool:
        if self._left or (isinstance(self._socket, ssl.SSLSocket) and self._socket.pending()):
            return True
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(1000.0 * wait_s))

    def release(self) -> None:
        """End the association in order; what goes wrong with that matters to nobody."""
        self._deadline = time.monotonic() + min(self._peer.timeout_s, _RELEASE_WAIT_S)
        try:
            self._send([struct.pack(">BBII", _RELEASE, 0, 4, 0)])
            self._pdu()
        except (OSError, DestinationUnavailable):
            pass
        finally:
            self._socket.close()

    def abort(self) -> None:
        """End the association at once."""
        try:
            self._socket.settimeout(0.0)
            self._socket.send(struct.pack(">BBII", _ABORT, 0, 4, 0))
        except OSError:
            pass
        finally:
            self._socket.close()

    def _next_id(self) -> bytes:
        self._message_id = self._message_id % 65535 + 1
        return struct.pack("<H", self._message_id)

    def _exchange(
        self, context_id: int, elements: Sequence[tuple[int, bytes]], dataset: memoryview, patience_s: float
    ) -> int:
        self._deadline = time.monotonic() + patience_s
        self._send(_message(context_id, elements, dataset, self._maximum))
        self._deadline = time.monotonic() + self._peer.timeout_s
        asked = time.monotonic()
        answer = self._response()
        if _STALL_S[0] < time.monotonic() - asked < _STALL_S[1]:
            # The peer waits for an acknowledgement before it sends the rest of its answer (Nagle): give it at once.
            # Towards others that costs speed: it is tried only where a peer stalls, and dropped where it is no help.
            self._quickack = not self._quickack
        return answer.number(0x0900)

    def _response(self) -> Incoming:
        """Return the answer to the last request; reports that come before it are taken."""
        events = 0
        while (answer := self._receive()).number(0x0100) == _EVENT:
            self._take(answer)
            events += 1
            if events > _MOST_MATCHES:
                self._lose("sends reports and no answer")
        if answer.number(0x0120) != self._message_id or answer.number(0x0900) < 0:
            self._lose("answered something else than it was asked")
        return answer

    def _receive(self) -> Incoming:
        """Return the next message; the data set of one that should have none is not waited for."""
        part, message = bytearray(), None
        while True:
            context_id, header, fragment = self._fragment()
            if message is None and not header & _COMMAND:
                continue  # the rest of a data set that was not waited for
            part += fragment
            if len(part) > _LARGEST_MESSAGE:
                self._lose("sent a message that is longer than any may be")
            if not header & _LAST:
                continue
            if message is not None:
                return Incoming(message.context_id, message.elements, bytes(part))
            message, part = Incoming(context_id, self._elements(bytes(part)), b""), bytearray()
            if message.number(0x0100) not in {_EVENT, _FOUND} or message.number(0x0800) in {-1, _NO_DATA_SET}:
                return message

    def _fragment(self) -> tuple[int, int, bytes]:
        """Return the next fragment: context ID, message control header, bytes."""
        while not self._left:
            kind, body = self._pdu()
            if kind == _RELEASE:
                self._send([struct.pack(">BBII", _RELEASED, 0, 4, 0)])
                self._lose("released the association early")
            if kind != _DATA:
                self._lose("aborted the association" if kind == _ABORT else f"sent a PDU of type {kind}")
            self._left.extend(self._fragments(body))
        return self._left.popleft()

    def _fragments(self, body: bytes) -> Iterator[tuple[int, int, bytes]]:
        offset = 0
        while offset < len(body):
            if offset + 6 > len(body):
                self._lose("sent a PDU that ends too early")
            length, context_id, header = struct.unpack_from(">IBB", body, offset)
            yield context_id, header, body[offset + 6 : offset + 4 + length]
            offset += 4 + max(length, 2)

    def _elements(self, command: bytes) -> dict[int, bytes]:
        found, offset = {}, 0
        while offset + 8 <= len(command):
            _, element, length = struct.unpack_from("<HHI", command, offset)
            found[element] = command[offset + 8 : offset + 8 + length]
            offset += 8 + length
        return found

    def _negotiated(self, contexts: Sequence[Context]) -> tuple[dict[Context, int], int]:
        kind, body = self._pdu()
        if kind == _REJECT and len(body) >= 4:  # noqa: PLR2004 - reserved, result, source, reason
            why = _REASONS.get((body[2], body[3]), f"source {body[2]}, reason {body[3]}")
            message = f"{self._peer} rejected the association ({why}): check the AE titles at both ends"
            raise DestinationUnavailable(message)
        if kind != _ACCEPT:
            self._lose("aborted the association" if kind == _ABORT else "did not answer in DICOM")
        try:
            answer = A_ASSOCIATE_AC()
            answer.decode(struct.pack(">BBI", kind, 0, len(body)) + body)
            information = answer.user_information
            maximum = (information.maximum_length if information else None) or _LARGEST_PDU
            proposed = {2 * number + 1: context for number, context in enumerate(contexts[:MAX_CONTEXTS])}
            accepted = {
                proposed[item.presentation_context_id]: item.presentation_context_id
                for item in answer.presentation_context
                if item.presentation_context_id and item.result == 0
            }
            wrong = [item for item in answer.presentation_context if item.result == 0 and not _is_as(item, proposed)]
        except Exception:  # noqa: BLE001
            # Whatever pynetdicom raises on bytes that are no answer to an association request.
            self._lose("did not answer in DICOM")
        if wrong:
            self._lose("accepted a transfer syntax that was not proposed")
        return accepted, max(min(maximum, _LARGEST_PDU), 1024)

    def _pdu(self) -> tuple[int, bytes]:
        kind, _, length = struct.unpack(">BBI", self._exactly(6))
        if length > _LARGEST_ANSWER:
            self._lose("did not answer in DICOM")
        return kind, self._exactly(length)

    def _exactly(self, size: int) -> bytes:
        found = bytearray()
        while len(found) < size:
            if self._quickack:
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            self._wait("gave no answer")
            try:
                part = self._socket.recv(size - len(found))
            except TimeoutError:
                self._lose(f"gave no answer within {self._peer.timeout_s:g} s")
            except OSError as error:
                self._lose(f"broke the connection ({type(error).__name__})")
            if not part:
                self._lose("closed the connection")
            found += part
        return bytes(found)

    def _send(self, parts: Sequence[Buffer]) -> None:
        try:
            for start in range(0, len(parts), _PARTS_A_CALL):
                self._wait("takes no more bytes")
                _write(self._socket, parts[start : start + _PARTS_A_CALL])
        except TimeoutError:
            self._lose(f"took no bytes for {self._peer.timeout_s:g} s")
        except OSError as error:
            self._lose(f"broke the connection ({type(error).__name__})")

    def _wait(self, what: str) -> None:
        """Bound the next call on the socket by the time-out and by what is left of this exchange's time."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            self._lose(f"{what}: its time is used up")
        self._socket.settimeout(min(left, self._peer.timeout_s))

    def _lose(self, what: str) -> NoReturn:
        message = f"{self._peer} {what}"
        raise DestinationUnavailable(message)


def _is_as(item: PresentationContextItemAC, proposed: Mapping[int, Context]) -> bool:
    """Tell whether a context was accepted in the one transfer syntax that was proposed for it."""
    return item.transfer_syntax == proposed[item.presentation_context_id or 0][1]


def _message(
    context_id: int, elements: Sequence[tuple[int, bytes]], dataset: memoryview, maximum: int
) -> Sequence[Buffer]:
    """Return the P-DATA-TF PDUs of a message, the data set's bytes as views of what was read from disk."""
    body = b"".join(struct.pack("<HHI", 0, element, len(value)) + value for element, value in elements)
    command = struct.pack("<HHII", 0, 0, 4, len(body)) + body
    parts: list[Buffer] = [_header(context_id, len(command), _COMMAND | _LAST), command]
    room = maximum - 6
    for start in range(0, len(dataset), room):
        fragment = dataset[start : start + room]
        parts += [_header(context_id, len(fragment), _LAST if start + room >= len(dataset) else 0), fragment]
    return parts


def _header(context_id: int, length: int, control: int) -> bytes:
    return struct.pack(">BBIIBB", _DATA, 0, length + 6, length + 2, context_id, control)


def _write(sock: socket.socket, parts: Sequence[Buffer]) -> None:
    if isinstance(sock, ssl.SSLSocket):
        sock.sendall(b"".join(parts))
        return
    sent = sock.sendmsg(parts)
    whole = sum(memoryview(part).nbytes for part in parts)
    if sent < whole:
        sock.sendall(memoryview(b"".join(parts))[sent:])


def _text(uid: str) -> bytes:
    value = uid.encode("ascii")
    return value + b"\0" * (len(value) % 2)
