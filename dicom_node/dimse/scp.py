"""The Storage SCP: takes what a PACS forwards, hands it to one callback, answers with what the callback says.

Every storage SOP class is accepted, private ones too, in the first transfer syntax that the peer proposes for it: the
data set is stored as it comes and never decoded here.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog
from pynetdicom import AE, _config, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at run time

from dicom_node.core.errors import Rejected
from dicom_node.core.identifiers import is_usable_uid
from dicom_node.core.study import Received
from dicom_node.dimse import status
from dicom_node.dimse.passed_listener import Listener, drain

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydicom.dataset import Dataset
    from pynetdicom.transport import ThreadedAssociationServer

__all__ = ["Received", "ScpSettings", "StorageScp"]

log = structlog.get_logger(__name__)

_PDU_LENGTH = 128 * 1024  # larger PDUs are fewer: 25 % more throughput than the default of 16 KiB, measured
_IN_FLIGHT_S = 30.0  # for a C-STORE that is being received when the node is told to stop
_ERROR_COMMENT = 64  # (0000,0902) is LO


@dataclass(frozen=True, slots=True)
class ScpSettings:
    """Who we are and what we allow; sizes in bytes, times in seconds. Port 0 takes a free one.

    listen_fd is a socket that listens already; host and port do not count then.
    """

    ae_title: str
    host: str
    port: int
    calling_ae_titles: tuple[str, ...] = ()
    max_associations: int = 20
    network_timeout_s: float = 30.0
    max_object_bytes: int = 256 << 20
    listen_fd: int | None = None


class StorageScp:
    """A listening Storage and Verification SCP.

    on_store is called in the association's own thread with each received instance. It returns once the instance is
    durable, or raises Rejected with the status for the peer; any other exception is answered "out of resources", so
    that the peer keeps the instance.
    """

    def __init__(
        self,
        settings: ScpSettings,
        on_store: Callable[[Received], None],
        *,
        on_turn: Callable[[], None] = lambda: None,
    ) -> None:
        """Take what is received to on_store; on_turn is called twice a second while the SCP accepts."""
        self._settings = settings
        self._on_store = on_store
        self._on_turn = on_turn
        self._server: ThreadedAssociationServer | None = None
        self._answered: set[Any] = set()

    @property
    def port(self) -> int:
        """The TCP port that is listened on."""
        if self._server is None or self._server.socket is None:
            message = "the SCP is not listening"
            raise RuntimeError(message)
        return int(self._server.socket.getsockname()[1])

    def start(self) -> None:
        """Listen, and serve associations in threads of their own. Raises OSError where the port cannot be had."""
        _configure_library()
        settings = self._settings
        ae = AE(ae_title=settings.ae_title)
        ae.require_called_aet = True
        ae.maximum_pdu_size = _PDU_LENGTH
        _set_limits(ae, settings)
        ae.add_supported_context(Verification)
        listening = {"listen_fd": settings.listen_fd, "on_turn": staticmethod(self._on_turn)}
        server = ae.make_server(
            (settings.host, settings.port),
            server_class=type("Listener", (Listener,), listening),
            evt_handlers=[
                (evt.EVT_C_STORE, self._handle_store),
                (evt.EVT_C_ECHO, self._handle_echo),
                (evt.EVT_ACCEPTED, self._log_accepted),
                (evt.EVT_REJECTED, self._log_association, ["association.rejected"]),
                (evt.EVT_ABORTED, self._log_association, ["association.aborted"]),
                (evt.EVT_RELEASED, self._log_association, ["association.released"]),
                (evt.EVT_DIMSE_SENT, self._note_answer),
            ],
        )
        ae._servers.append(server)  # noqa: SLF001 - as AE.start_server does, which takes no server_class
        threading.Thread(target=server.serve_forever, name="listener", daemon=True).start()
        self._server = server

    def stop(self) -> None:
        """Stop listening and end the associations: silent ones at once, others when their instance is answered."""
        if self._server is not None:
            associations = self._server.active_associations
            self._answered.clear()
            self._server.shutdown()
            self._server = None
            drain(associations, self._answered, _IN_FLIGHT_S)

    def apply(self, settings: ScpSettings) -> None:
        """Serve associations that come from now on by these settings; AE title and address stay what they are."""
        self._settings = settings
        if self._server is not None:
            _set_limits(self._server.ae, settings)

    def pause(self) -> None:
        """Reject new associations as transient (local limit exceeded): the peer comes back by itself."""
        if self._server is not None:
            self._server.ae._maximum_associations = 0  # noqa: SLF001 - the public setter takes no 0

    def resume(self) -> None:
        """Accept associations again."""
        self.apply(self._settings)

    def _note_answer(self, event: Any) -> None:
        if self._server is None:
            self._answered.add(event.assoc)

    def _handle_store(self, event: Any) -> int | Dataset:
        event.assoc.in_hand = 1  # until the answer is on its way
        try:
            return self._store(event)
        finally:
            event.assoc.in_hand = 0

    def _store(self, event: Any) -> int | Dataset:
        request, context = event.request, event.context
        received = Received(
            sop_class_uid=str(request.AffectedSOPClassUID or ""),
            sop_instance_uid=str(request.AffectedSOPInstanceUID or ""),
            transfer_syntax_uid=str(context.transfer_syntax),
            calling_ae=_title(event),
            peer=str(event.assoc.requestor.address),
            dataset=request.DataSet.getvalue(),
        )
        try:
            self._check_size(received)
            self._on_store(received)
        except Rejected as rejection:
            return _answer(rejection.status, str(rejection))
        except Exception:
            # The last line before the peer: whatever failed, the instance is not ours, and the peer must hear it.
            log.exception("instance.failed", sop_instance=received.sop_instance_uid)
            return _answer(status.OUT_OF_RESOURCES, "internal failure, the instance was not stored")
        return status.SUCCESS

    def _check_size(self, received: Received) -> None:
        if len(received.dataset) > self._settings.max_object_bytes:
            message = f"data set larger than {self._settings.max_object_bytes >> 20} MiB (node.max_object_mib)"
            raise Rejected(message, status.OUT_OF_RESOURCES)

    def _handle_echo(self, event: Any) -> int:
        log.info("echo.answered", calling_ae=_title(event))
        return status.SUCCESS

    def _log_accepted(self, event: Any) -> None:
        """Log an association, and each class it asked for that is none of the Storage Service: it gets no status."""
        self._log_association(event, "association.accepted")
        for context in event.assoc.rejected_contexts:
            uid = str(context.abstract_syntax)
            name = uid if is_usable_uid(uid) else "(not a UID)"
            log.warning("context.rejected", calling_ae=_title(event), sop_class=name, reason="not a storage SOP class")

    def _log_association(self, event: Any, name: str) -> None:
        log.debug(name, calling_ae=_title(event), peer=str(event.assoc.requestor.address))


def _set_limits(ae: AE, settings: ScpSettings) -> None:
    ae.require_calling_aet = list(settings.calling_ae_titles)
    ae.maximum_associations = settings.max_associations
    ae.network_timeout = ae.dimse_timeout = settings.network_timeout_s
    ae.acse_timeout = min(settings.network_timeout_s, 10.0)


def _title(event: Any) -> str:
    return str(event.assoc.requestor.ae_title).strip()


def _answer(code: int, comment: str) -> Dataset:
    """Return a status with its Error Comment (PS3.7 C), so that the peer's log says why."""
    from pydicom.dataset import Dataset  # noqa: PLC0415 - rarely needed

    answer = Dataset()
    answer.Status = code
    answer.ErrorComment = comment[:_ERROR_COMMENT]
    return answer


def _configure_library() -> None:
    """Set pynetdicom's process-wide switches.

    It has no other way to accept storage classes it does not list (retired and private ones, which a PACS forwards with
    the rest). Its own log is off: it would write data set contents, and costs 6 % of the receive rate.
    """
    _config.UNRESTRICTED_STORAGE_SERVICE = True
    _config.LOG_HANDLER_LEVEL = "none"
    _config.LOG_REQUEST_IDENTIFIERS = False
    _config.LOG_RESPONSE_IDENTIFIERS = False
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
