"""Storage SCPs that accept little, or misbehave, on loopback."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Any

from pynetdicom import AE, evt

from tests.support.waiting import free_port

if TYPE_CHECKING:
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
        self._contexts = contexts
        self._server: Any = None

    def start(self) -> StubPacs:
        """Listen."""
        ae = AE(ae_title="STUB")
        ae.maximum_associations = 5
        for sop_class, syntax in ((VERIFICATION, IMPLICIT), *self._contexts):
            ae.add_supported_context(sop_class, syntax)
        handlers: list[Any] = [(evt.EVT_C_STORE, self._store), (evt.EVT_ACCEPTED, self._count)]
        self._server = ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)
        return self

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
