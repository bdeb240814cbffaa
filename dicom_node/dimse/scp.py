"""The Storage SCP: takes what a PACS forwards, hands it on piece by piece, answers with what its taker says.

The upper layer is our own (docs/adr): it writes data sets straight from the socket into the spool, and holds every peer
to deadlines and caps. Every storage SOP class is accepted, private ones too, in the first transfer syntax that the peer
proposes for it: the data set is stored as it comes and never decoded here.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from dicom_node.core.errors import SettingsError
from dicom_node.core.study import Received, StoreRequest
from dicom_node.dimse import tls
from dicom_node.dimse.admission import Admission
from dicom_node.dimse.association import Association, House
from dicom_node.dimse.fragments import Pace
from dicom_node.dimse.listener import Listener, drain, listen
from dicom_node.dimse.peers import AllowedPeer, AllowList
from dicom_node.dimse.scp_settings import ScpSettings
from dicom_node.dimse.services import Report, Services
from dicom_node.dimse.sink import Sink, WholeObjects
from dicom_node.dimse.tls import TlsFiles

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "AllowedPeer",
    "Pace",
    "Received",
    "Report",
    "ScpSettings",
    "Sink",
    "StorageScp",
    "StoreRequest",
    "TlsFiles",
    "WholeObjects",
]

_IN_FLIGHT_S = 30.0  # less than systemd and the supervisor wait before they kill
_STALLED_S = 3.0


class StorageScp:
    """A listening Storage and Verification SCP.

    open_sink is called in the association's own thread with each request, and the sink's methods after it. finish
    returns once the instance is durable; any of them may raise Rejected with the status for the peer. Any other
    exception is answered "out of resources", so that the peer keeps the instance.
    on_report, where given, takes the reports of Storage Commitment that a PACS sends on an association of its own.
    accepting says whether a new association may be had; where not, it is rejected as "try again later".
    on_turn is called about twice a second by the thread that accepts, as a sign that it does.
    """

    def __init__(
        self,
        settings: ScpSettings,
        open_sink: Callable[[StoreRequest], Sink],
        on_report: Callable[[Report], int] | None = None,
        accepting: Callable[[], bool] = lambda: True,
        on_turn: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._services = Services(open_sink, on_report)
        self._admission: Admission[Association] = Admission(settings.max_associations, settings.pending_per_address)
        self._accepting = accepting
        self._on_turn = on_turn
        self._paused = threading.Event()
        self._listener: Listener | None = None

    @property
    def port(self) -> int:
        """The TCP port that is listened on."""
        if self._listener is None:
            message = "the SCP is not listening"
            raise RuntimeError(message)
        return self._listener.port

    def start(self) -> None:
        """Listen, and serve associations in threads of their own.

        Raises OSError where the port cannot be had, SettingsError where certificate, key or CA cannot be used.
        """
        settings, house = self._settings, self._house()
        self._listener = Listener(listen(settings.host, settings.port, settings.listen_fd), house, self._on_turn)
        self._listener.start()

    def stop(self) -> None:
        """Stop listening and end the associations: silent ones at once, others when their instance is answered."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
            drain(self._admission.inside, _IN_FLIGHT_S, _STALLED_S)

    def apply(self, settings: ScpSettings) -> None:
        """Serve associations that come from now on by these settings; where we listen stays what it is.

        Raises SettingsError where certificate, key or CA cannot be used; then nothing has changed.
        """
        before, self._settings = self._settings, settings
        try:
            house = self._house()
        except SettingsError:
            self._settings = before
            raise
        self._admission.limit(settings.max_associations, settings.pending_per_address)
        if self._listener is not None:
            self._listener.apply(house)

    def pause(self) -> None:
        """Reject new associations as transient, so that peers come back by themselves; those that are open go on."""
        self._paused.set()

    def resume(self) -> None:
        """Accept associations again."""
        self._paused.clear()

    def _house(self) -> House:
        settings = self._settings
        context = tls.server_context(settings.tls) if settings.tls is not None else None
        allowed = AllowList(settings.peers)
        return House(settings, self._services, self._admission, allowed, context, self._may_enter)

    def _may_enter(self) -> bool:
        return not self._paused.is_set() and self._accepting()

    def refusals(self) -> dict[str, int]:
        """Return how many connections and associations were refused, by kind."""
        return self._admission.refusals()
