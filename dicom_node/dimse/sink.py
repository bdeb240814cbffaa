"""Where a received data set goes while it arrives: the narrow interface between the network and whoever stores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import structlog

from dicom_node.core.errors import Rejected
from dicom_node.core.study import Received, StoreRequest
from dicom_node.dimse import status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

log = structlog.get_logger(__name__)


class Sink(Protocol):
    """Takes one data set piece by piece; each method may raise Rejected with the status for the peer."""

    def write(self, pieces: Sequence[memoryview]) -> None:
        """Take the next pieces; they are only valid during the call."""

    def finish(self) -> object:
        """Return, whatever it is, once the whole instance is durable: then the peer hears success."""

    def abort(self) -> None:
        """Drop everything: the instance will not be whole. Never raises."""


class Taking:
    """The sink of one instance, or the refusal that it came to; the peer's bytes are taken off the wire either way."""

    def __init__(self, open_sink: Callable[[StoreRequest], Sink], request: StoreRequest) -> None:
        self._uid = request.sop_instance_uid
        self._sink: Sink | None = None
        self._refusal = (status.SUCCESS, "")
        self._attempt(lambda: self._open(open_sink, request))

    def write(self, pieces: Sequence[memoryview]) -> None:
        """Hand pieces on, unless the instance is refused already."""
        sink = self._sink
        if sink is not None:
            self._attempt(lambda: sink.write(pieces))

    def finish(self) -> tuple[int, str]:
        """Return the status for the peer, and in words why it is no success."""
        sink = self._sink
        if sink is not None:
            self._attempt(sink.finish)
        return self._refusal

    def abort(self) -> None:
        """Drop what arrived so far."""
        if self._sink is not None:
            self._sink.abort()
            self._sink = None

    def _open(self, open_sink: Callable[[StoreRequest], Sink], request: StoreRequest) -> None:
        self._sink = open_sink(request)

    def _attempt(self, step: Callable[[], object]) -> None:
        try:
            step()
        except Rejected as rejection:
            self._refusal = (rejection.status, str(rejection))
            self.abort()
        except Exception:
            # The last line before the peer: whatever failed, the instance is not ours, and the peer must hear it.
            log.exception("instance.failed", sop_instance=self._uid if self._uid.isprintable() else "(not a UID)")
            self._refusal = (status.OUT_OF_RESOURCES, "internal failure, the instance was not stored")
            self.abort()


class WholeObjects:
    """Opens sinks that gather a data set in memory and hand it on whole: for what stores little, such as a demo."""

    def __init__(self, on_store: Callable[[Received], None]) -> None:
        self._on_store = on_store

    def __call__(self, request: StoreRequest) -> Sink:
        """Open a sink for one instance."""
        return _Gathering(request, self._on_store)


class _Gathering:
    def __init__(self, request: StoreRequest, on_store: Callable[[Received], None]) -> None:
        self._request = request
        self._on_store = on_store
        self._data = bytearray()

    def write(self, pieces: Sequence[memoryview]) -> None:
        for piece in pieces:
            self._data += piece

    def finish(self) -> None:
        request = self._request
        received = Received(
            sop_class_uid=request.sop_class_uid,
            sop_instance_uid=request.sop_instance_uid,
            transfer_syntax_uid=request.transfer_syntax_uid,
            calling_ae=request.calling_ae,
            peer=request.peer,
            dataset=bytes(self._data),
        )
        self._on_store(received)

    def abort(self) -> None:
        self._data.clear()
