"""A connection with read-ahead and deadlines: no read and no write may take longer than its caller allows."""

from __future__ import annotations

import mmap
import select
import socket
import ssl
import time
from contextlib import suppress

from dicom_node.core.errors import Retryable

_BUFFER = 512 * 1024  # four of our largest PDUs: one read, one write to disk
_LINGER_S = 0.5  # for the peer to read our last word; a close with unread bytes would take it back


class HungUp(Retryable):
    """The peer closed or reset the connection."""


class Stalled(Retryable):
    """The peer did not send or take bytes in time."""


class Wire:
    """One accepted socket, plain or TLS, read ahead into one buffer that is never enlarged.

    What `view` shows between `start` and `end` is valid until the next `fill`.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)  # noqa: FBT003 - as the method is
        with suppress(OSError):  # only TCP has these
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = sock
        self._is_tls = isinstance(sock, ssl.SSLSocket)
        # Mapped and not allocated: a silent connection touches nothing of it, and its end gives all of it back.
        self.view = memoryview(mmap.mmap(-1, _BUFFER))
        self.start = self.end = 0
        self.received = 0

    @property
    def buffered(self) -> int:
        """The bytes that were read ahead and not yet taken."""
        return self.end - self.start

    def take(self, count: int) -> memoryview:
        """Return the next buffered bytes and move past them."""
        piece = self.view[self.start : self.start + count]
        self.start += count
        return piece

    def need(self, count: int, deadline: float) -> None:
        """Read until `count` bytes are buffered. Raises HungUp or Stalled (deadline: of time.monotonic)."""
        while self.end - self.start < count:
            self.fill(deadline)

    def fill(self, deadline: float) -> None:
        """Read what is there, waiting for the first byte. Raises HungUp or Stalled (deadline: of time.monotonic)."""
        self._make_room()
        while not self._read():
            self._wait(select.POLLIN, deadline)

    def read_ahead(self) -> None:
        """Read what is there without waiting. Raises HungUp."""
        self._make_room()
        if self.end < _BUFFER:
            self._read()

    def send(self, data: bytes, deadline: float) -> None:
        """Write all of `data`. Raises HungUp or Stalled (deadline: of time.monotonic)."""
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self._sock.send(rest) :]
            except (BlockingIOError, ssl.SSLWantWriteError):
                self._wait(select.POLLOUT, deadline)
            except ssl.SSLWantReadError:
                self._wait(select.POLLIN, deadline)
            except (OSError, ValueError) as error:
                raise HungUp(type(error).__name__) from error

    def handshake(self, context: ssl.SSLContext, deadline: float) -> str | None:
        """Speak TLS from here on; returns the SHA-256 fingerprint of the peer's certificate, if it has one.

        Raises HungUp or Stalled (deadline: of time.monotonic), and ssl.SSLError where the peers do not agree.
        """
        tls = context.wrap_socket(self._sock, server_side=True, do_handshake_on_connect=False)
        self._sock, self._is_tls = tls, True
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._wait(select.POLLIN, deadline)
            except ssl.SSLWantWriteError:
                self._wait(select.POLLOUT, deadline)
            except ssl.SSLError:
                raise
            except (OSError, ValueError) as error:
                raise HungUp(type(error).__name__) from error
        certificate = tls.getpeercert(binary_form=True)
        return _fingerprint(certificate) if certificate else None

    def hang_up(self) -> None:
        """Shut the connection from another thread: whoever waits on it is told at once."""
        with suppress(OSError, ValueError):
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)  # TLS's own would change its state under its thread

    def close(self, *, linger: bool) -> None:
        """Close it; linger: let the peer read what was sent last, for half a second at most."""
        if linger:
            with suppress(HungUp, Stalled, OSError, ValueError):
                socket.socket.shutdown(self._sock, socket.SHUT_WR)
                deadline = time.monotonic() + _LINGER_S
                while time.monotonic() < deadline:
                    self.start = self.end = 0
                    self.fill(deadline)
        self._sock.close()

    def _make_room(self) -> None:
        if self.start == self.end:
            self.start = self.end = 0
        elif self.end == _BUFFER:
            rest = self.end - self.start
            self.view[:rest] = self.view[self.start : self.end]
            self.start, self.end = 0, rest

    def _read(self) -> bool:
        """Read once; False where nothing is there yet."""
        try:
            count = self._sock.recv_into(self.view[self.end :])
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        except ssl.SSLWantWriteError:  # renegotiation does not exist in what we accept; a key update may want to write
            return False
        except (OSError, ValueError) as error:
            raise HungUp(type(error).__name__) from error
        if not count:
            message = "closed"
            raise HungUp(message)
        self.end += count
        self.received += count
        if not self._is_tls:
            # Not sticky, so asked for again after each read: a peer with Nagle's algorithm on waits for the
            # acknowledgement of one piece before it sends the next, 40 ms an instance.
            with suppress(OSError):  # the peer was quicker
                self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return True

    def _wait(self, event: int, deadline: float) -> None:
        """Wait for the socket; poll and not select, which fails beyond descriptor 1023."""
        left = deadline - time.monotonic()
        poller = select.poll()
        try:
            poller.register(self._sock, event)
        except ValueError as error:  # closed by another thread
            raise HungUp(type(error).__name__) from error
        if left <= 0 or not poller.poll(max(1, int(left * 1000))):
            message = "no byte in time"
            raise Stalled(message)


def _fingerprint(certificate: bytes) -> str:
    import hashlib  # noqa: PLC0415 - only with TLS

    return hashlib.sha256(certificate).hexdigest()
