"""The listening end of the SCP: a socket of its own or one that was passed, a sign of life, and an orderly end.

MERGE: the guarded receive path brings `listen_fd`, the drain and its own accept loop; this file goes, its tests stay.
"""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from pynetdicom.transport import ThreadedAssociationServer

if TYPE_CHECKING:
    from collections.abc import Callable

_POLL_S = 0.01
_ANSWER_S = 0.05  # the answer is queued when its event comes; so long it may take to the wire


class Listener(ThreadedAssociationServer):
    """pynetdicom's server on a socket that somebody else may own too, such as systemd."""

    listen_fd: int | None = None
    on_turn: Callable[[], None] = staticmethod(lambda: None)

    def server_bind(self) -> None:
        """Bind, or take the socket that was passed: it is bound and listens already."""
        if self.listen_fd is None:
            super().server_bind()
            return
        cast("socket.socket", self.socket).close()
        self.socket = socket.socket(fileno=socket.dup(self.listen_fd))
        self.socket.settimeout(self.ae.network_timeout)
        self.server_address = self.socket.getsockname()

    def server_close(self) -> None:
        """Close our end only: shutting a passed socket down would end it for its owner as well."""
        if self.listen_fd is None:
            super().server_close()
        else:
            cast("socket.socket", self.socket).close()

    def service_actions(self) -> None:
        """Show, twice a second, that the accept loop turns."""
        super().service_actions()
        self.on_turn()


def drain(associations: list[Any], answered: set[Any], drain_s: float) -> None:
    """End associations: idle ones at once, the others as soon as the C-STORE in hand is answered, or after drain_s."""
    deadline = time.monotonic() + drain_s
    waiting = [association for association in associations if _is_busy(association)]
    for association in associations:
        if association not in waiting:
            hang_up(association)
    while waiting and time.monotonic() < deadline:
        time.sleep(_POLL_S)
        done = [one for one in waiting if one in answered or not one.is_alive() or not _is_busy(one)]
        if done:
            time.sleep(_ANSWER_S)
        for association in done:
            hang_up(association)
            waiting.remove(association)
    for association in waiting:
        hang_up(association)


def _is_busy(association: Any) -> bool:
    """Tell whether a message is being received or answered."""
    provider = association.dimse
    return provider.message is not None or not provider.msg_queue.empty() or getattr(association, "in_hand", 0) > 0


def hang_up(association: Any) -> None:
    """Shut an association's socket: its threads block in recv and would keep the process alive for a time-out."""
    transport = association.dul.socket
    sock = transport.socket if transport is not None else None
    if sock is not None:
        with suppress(OSError):  # the peer was quicker
            sock.shutdown(socket.SHUT_RDWR)
