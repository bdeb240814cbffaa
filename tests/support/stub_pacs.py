"""Storage SCPs that accept little, or misbehave, on loopback."""

from __future__ import annotations

import socket
import struct
import threading
from typing import TYPE_CHECKING, Any

from pynetdicom import AE, evt

from tests.support.waiting import free_port

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from typing_extensions import Self

VERIFICATION, IMPLICIT = "1.2.840.10008.1.1", "1.2.840.10008.1.2"


class StubPacs:
    """A storage SCP that accepts the given contexts and answers as it is told; it can be stopped and started again."""

    def __init__(self, *contexts: tuple[str, str], answer: Callable[[str, str], int] = lambda _class, _uid: 0) -> None:
        self.port = free_port()
        self.stored: list[tuple[str, str, str]] = []
        self.associations = 0
        self.answer = answer
        self.tls: ssl.SSLContext | None = None
        self._contexts = contexts
        self._server: Any = None

    def start(self) -> StubPacs:
        """Listen."""
        ae = AE(ae_title="STUB")
        ae.maximum_associations = 5
        for sop_class, syntax in ((VERIFICATION, IMPLICIT), *self._contexts):
            ae.add_supported_context(sop_class, syntax)
        where, handlers = ("127.0.0.1", self.port), self.handlers()
        self._server = ae.start_server(where, block=False, evt_handlers=handlers, ssl_context=self.tls)
        return self

    def handlers(self) -> list[Any]:
        """Return what pynetdicom calls."""
        return [(evt.EVT_C_STORE, self._store), (evt.EVT_ACCEPTED, self._count)]

    def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.shutdown()
            self._server = None

    def _count(self, _event: Any) -> None:
        self.associations += 1

    def _store(self, event: Any) -> int:
        sop_class = str(event.request.AffectedSOPClassUID)
        status = self.answer(sop_class, str(event.request.AffectedSOPInstanceUID))
        if status == 0:
            self.stored.append(
                (sop_class, str(event.request.AffectedSOPInstanceUID), str(event.context.transfer_syntax))
            )
        return status

    def destination(self, name: str = "pacs", **more: Any) -> dict[str, Any]:
        """Return the settings of this destination."""
        return {"name": name, "ae_title": "STUB", "host": "127.0.0.1", "port": self.port} | more

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Listener:
    """A TCP server that does what it is told with each connection."""

    def __init__(self, serve: Callable[[socket.socket], None]) -> None:
        self._serve = serve
        self.connections = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self._ended = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._run, args=(connection,), daemon=True).start()

    def _run(self, connection: socket.socket) -> None:
        with connection:
            try:
                self._serve(connection)
            except OSError:
                return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # An accept that waits keeps the port: wake it.
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def read_pdu(sock: socket.socket) -> bytes:
    """Return the body of the next PDU."""
    head = sock.recv(6, socket.MSG_WAITALL)
    return sock.recv(struct.unpack(">I", head[2:])[0], socket.MSG_WAITALL)


def accept_association(sock: socket.socket, syntax: bytes = b"", longest: int = 16384) -> None:
    """Answer an A-ASSOCIATE-RQ: every context in the one syntax that it proposes, or in another."""
    body, items, offset = read_pdu(sock), b"", 68
    while offset < len(body):
        kind, length = body[offset], struct.unpack_from(">H", body, offset + 2)[0]
        if kind == 0x20:
            named = body[body.index(b"\x40\x00", offset + 8) : offset + 4 + length]
            named = struct.pack(">BBH", 0x40, 0, len(syntax)) + syntax if syntax else named
            items += struct.pack(">BBHBBBB", 0x21, 0, 4 + len(named), body[offset + 4], 0, 0, 0) + named
        offset += 4 + length
    name = b"1.2.840.10008.3.1.1.1"
    items = struct.pack(">BBH", 0x10, 0, len(name)) + name + items
    items += b"\x50\x00\x00\x08\x51\x00\x00\x04" + struct.pack(">I", longest)
    answer = body[:2] + b"\0\0" + body[4:68] + items
    sock.sendall(struct.pack(">BBI", 2, 0, len(answer)) + answer)
