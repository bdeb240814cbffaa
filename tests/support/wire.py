"""A peer that speaks DICOM's upper layer byte by byte, so that it can break every rule of it (PS3.8 9.3)."""

from __future__ import annotations

import socket
import ssl
import struct
import time
from typing import TYPE_CHECKING

from dicom_node.dimse.pdu import HEADER

if TYPE_CHECKING:
    from typing_extensions import Self

CR = "1.2.840.10008.5.1.4.1.1.1"
VERIFICATION = "1.2.840.10008.1.1"
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
ACCEPTED, REJECTED, DATA, RELEASED, ABORTED = 2, 3, 4, 6, 7
RELEASE_RQ = b"\5\0\0\0\0\4\0\0\0\0"
ABORT = b"\7\0\0\0\0\4\0\0\0\0"


def item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(value)) + value


def context(number: int, abstract: str = VERIFICATION, transfer: tuple[str, ...] = (IMPLICIT,)) -> bytes:
    transfers = b"".join(item(0x40, uid.encode()) for uid in transfer)
    return item(0x20, bytes((number, 0, 0, 0)) + item(0x30, abstract.encode()) + transfers)


def user_information(max_length: int = 16384) -> bytes:
    return item(0x50, item(0x51, struct.pack(">I", max_length)) + item(0x52, b"1.2.3.4"))


def associate_rq(
    contexts: bytes,
    called: bytes = b"DICOMNODE",
    calling: bytes = b"PEER",
    version: int = 1,
    application: bytes = b"1.2.840.10008.3.1.1.1",
) -> bytes:
    """Return an A-ASSOCIATE-RQ; everything in it can be wrong."""
    body = struct.pack(">HH", version, 0) + called.ljust(16)[:16] + calling.ljust(16)[:16] + bytes(32)
    body += item(0x10, application) + contexts + user_information()
    return HEADER.pack(1, len(body)) + body


def pdv(payload: bytes, control: int, context_id: int = 1) -> bytes:
    return struct.pack(">IBB", len(payload) + 2, context_id, control) + payload


def p_data(*pdvs: bytes) -> bytes:
    return HEADER.pack(4, len(b"".join(pdvs))) + b"".join(pdvs)


def command(elements: dict[int, bytes]) -> bytes:
    """Return a command set with its group length."""
    body = b"".join(struct.pack("<HHI", 0, tag, len(value)) + value for tag, value in sorted(elements.items()))
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def _padded(text: str) -> bytes:
    raw = text.encode("latin-1")
    return raw + b"\0" * (len(raw) % 2)


def c_echo_rq(message_id: int = 1) -> bytes:
    number = struct.pack("<H", message_id)
    return command({2: _padded(VERIFICATION), 0x100: b"\x30\0", 0x110: number, 0x800: b"\1\1"})


def c_store_rq(sop_instance: str, sop_class: str = CR, message_id: int = 1) -> bytes:
    number = struct.pack("<H", message_id)
    uids = {2: _padded(sop_class), 0x1000: _padded(sop_instance)}
    return command({**uids, 0x100: b"\1\0", 0x110: number, 0x700: b"\0\0", 0x800: b"\0\0"})


def status_of(body: bytes) -> int:
    """Return the status in the body of a P-DATA PDU that holds one response."""
    offset = 6
    while offset + 8 <= len(body):
        _, tag, length = struct.unpack_from("<HHI", body, offset)
        if tag == 0x0900:
            return int(struct.unpack_from("<H", body, offset + 8)[0])
        offset += 8 + length
    message = "no status in the response"
    raise ValueError(message)


class RawPeer:
    """One TCP connection to an SCP; source: the loopback address that it comes from."""

    def __init__(self, port: int, source: str = "127.0.0.1", timeout_s: float = 60.0) -> None:
        self.sock: socket.socket = socket.create_connection(("127.0.0.1", port), timeout_s, (source, 0))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def secure(self, context: ssl.SSLContext) -> Self:
        """Speak TLS from here on."""
        self.sock = context.wrap_socket(self.sock, server_hostname="localhost")
        return self

    def send(self, data: bytes) -> Self:
        self.sock.sendall(data)
        return self

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def pdu(self) -> tuple[int, bytes]:
        """Return the next PDU's type and body; (0, b"") where the peer has closed."""
        try:
            head = self._exactly(6)
            kind, length = HEADER.unpack(head)
            return kind, self._exactly(length)
        except (ConnectionError, EOFError):
            return 0, b""

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = self.sock.recv(count - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data

    def associate(self, contexts: bytes = b"", **more: bytes) -> Self:
        """Open an association for storing CR (context 1) and for C-ECHO (context 3)."""
        self.send(associate_rq(contexts or context(1, CR, (EXPLICIT,)) + context(3), **more))
        kind, body = self.pdu()
        assert kind == ACCEPTED, (kind, body)
        return self

    def store(self, sop_instance: str, dataset: bytes, pdu_length: int = 131072) -> int:
        """Send one instance and return its status."""
        self.send(p_data(pdv(c_store_rq(sop_instance), 3)))
        room = pdu_length - 6
        for start in range(0, len(dataset), room):
            last = 2 if start + room >= len(dataset) else 0
            self.send(p_data(pdv(dataset[start : start + room], last)))
        kind, body = self.pdu()
        assert kind == DATA, (kind, body)
        return status_of(body)

    def echo(self) -> int:
        self.send(p_data(pdv(c_echo_rq(), 3, 3)))
        kind, body = self.pdu()
        assert kind == DATA, (kind, body)
        return status_of(body)

    def closed_within(self, limit_s: float) -> bool:
        """Tell whether the node ends the connection in time, whatever it says before that."""
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            self.sock.settimeout(max(0.01, end - time.monotonic()))
            try:
                if not self.sock.recv(65536):
                    return True
            except TimeoutError:
                return False
            except OSError:
                return True
        return False


def echo_answered(port: int, source: str = "127.0.0.9", called: bytes = b"DICOMNODE", timeout_s: float = 30.0) -> None:
    """Be an honest peer: an association, a C-ECHO, and the release. Raises AssertionError or OSError where it fails."""
    with RawPeer(port, source, timeout_s) as peer:
        peer.associate(called=called)
        assert peer.echo() == 0
        peer.send(RELEASE_RQ)
        assert peer.pdu()[0] == RELEASED
