"""The listening socket and the thread that accepts from it: no peer can hold it up."""

from __future__ import annotations

import errno
import os
import select
import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from dicom_node.dimse.association import Association, House

if TYPE_CHECKING:
    from collections.abc import Callable

log = structlog.get_logger(__name__)

_BACKLOG = 128
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))
_PAUSE_S = 0.05
_TURN_MS = 500  # how often the loop shows that it turns, with nothing to accept
_TURNED_AWAY_S = 0.005  # without descriptors: enough to give other threads a turn


def listen(host: str, port: int, inherited: int | None) -> socket.socket:
    """Return a listening socket: a new one, or the one that a supervisor opened and handed on as a descriptor.

    Raises OSError where the port cannot be had.
    """
    if inherited is not None:
        return socket.socket(fileno=inherited)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=_BACKLOG)


class Listener:
    """Accepts connections in a thread of its own and gives each association a thread of its own."""

    def __init__(self, sock: socket.socket, house: House, on_turn: Callable[[], None] = lambda: None) -> None:
        sock.setblocking(False)  # noqa: FBT003 - as the method is
        self._socket = sock
        self._house = house
        self._on_turn = on_turn
        self._wake_read, self._wake_write = os.pipe()
        # Held back so that a connection can be accepted, and closed, when no descriptor is left.
        self._spare = os.open(os.devnull, os.O_RDONLY)
        self._thread = threading.Thread(target=self._run, name="scp-accept", daemon=True)

    @property
    def port(self) -> int:
        """The TCP port that is listened on."""
        return int(self._socket.getsockname()[1])

    def start(self) -> None:
        """Begin to accept."""
        self._thread.start()

    def apply(self, house: House) -> None:
        """Let in whoever comes from now on by another house's rules."""
        self._house = house

    def close(self) -> None:
        """Stop accepting. A socket that somebody else opened stays open there, and peers wait in its backlog."""
        os.write(self._wake_write, b"x")
        self._thread.join()
        self._socket.close()
        for descriptor in (self._wake_read, self._wake_write, self._spare):
            os.close(descriptor)

    def _run(self) -> None:
        poller = select.poll()
        poller.register(self._socket, select.POLLIN)
        poller.register(self._wake_read, select.POLLIN)
        while True:
            self._on_turn()
            ready = {descriptor for descriptor, _ in poller.poll(_TURN_MS)}
            if self._wake_read in ready:
                return
            if not ready:
                continue
            try:
                sock, address = self._socket.accept()
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._turn_away()
                continue
            try:
                self._let_in(sock, str(address[0]))
            except Exception:  # whatever this connection came to, the next one must find somebody
                log.exception("connection.failed", peer=str(address[0]))
                sock.close()

    def _let_in(self, sock: socket.socket, address: str) -> None:
        """Begin an association's thread, unless the address is not listed or is at its cap."""
        admission = self._house.admission
        if not self._house.allowed.lists_address(address):
            admission.count("unlisted")
            log.warning("connection.refused", peer=address, reason="the address is of no listed peer (node.peers)")
            sock.close()
            return
        _keep_alive(sock)
        association = Association(sock, address, self._house)
        if not admission.enter(association):
            log.warning("connection.refused", peer=address, reason="too many connections without an association")
            sock.close()
            return
        self._begin(association, sock)

    def _begin(self, association: Association, sock: socket.socket) -> None:
        def serve() -> None:
            try:
                association.run()
            finally:
                self._house.admission.gone(association)

        try:
            threading.Thread(target=serve, name="scp-association", daemon=True).start()
        except RuntimeError:  # no thread to be had
            self._house.admission.leave(association)
            self._house.admission.gone(association)
            self._house.admission.count("exhausted")
            sock.close()

    def _turn_away(self) -> None:
        """Close the next connection for want of descriptors: a peer hears so at once, and the loop does not spin."""
        self._house.admission.count("exhausted")
        log.error("connection.refused", reason="no file descriptor is left: raise LimitNOFILE or find who holds them")
        os.close(self._spare)
        with suppress(OSError):
            self._socket.accept()[0].close()
        with suppress(OSError):
            self._spare = os.open(os.devnull, os.O_RDONLY)
        time.sleep(_TURNED_AWAY_S)


def _keep_alive(sock: socket.socket) -> None:
    """Let the kernel find out about a peer whose cable was pulled: after a minute."""
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, seconds in _KEEPALIVE:
            sock.setsockopt(socket.IPPROTO_TCP, option, seconds)


def drain(associations: Callable[[], list[Association]], in_flight_s: float, stalled_s: float) -> None:
    """End all associations: idle ones at once, one in mid-instance when it is answered, is stalled, or time is up."""
    end = time.monotonic() + in_flight_s
    moved: dict[Association, tuple[int, float]] = {}
    while True:
        left = associations()
        now = time.monotonic()
        for association in left:
            association.drain()
            received, since = moved.get(association, (-1, now))
            if association.received != received:
                moved[association] = (association.received, now)
            elif now >= end or (association.is_receiving and now - since > stalled_s):
                association.hang_up()
        if not left or now > end + 1.0:
            return
        time.sleep(_PAUSE_S)
