"""What systemd is told (sd_notify): ready, state in words, alive. Without systemd it is told nobody."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import MutableMapping

_USEC = 1_000_000
_UNWATCHED_S = 60.0
_FIRST_PASSED = 3  # sd_listen_fds(3): passed descriptors follow standard error


@dataclass(frozen=True, slots=True)
class Notifier:
    """The manager's socket, if there is one, and within how many seconds it wants a sign of life, if it does."""

    address: str | None = None
    watchdog_s: float | None = None

    @property
    def every_s(self) -> float:
        """How often a sign of life is due: four times within the time that the watchdog waits."""
        return (self.watchdog_s or _UNWATCHED_S) / 4

    def ready(self, status: str) -> None:
        """Say that the service is up."""
        self._send(f"READY=1\nSTATUS={status}")

    def status(self, text: str) -> None:
        """Say in one line what it is doing; `systemctl status` shows it."""
        self._send(f"STATUS={text}")

    def alive(self) -> None:
        """Give the sign of life that the watchdog waits for."""
        if self.watchdog_s is not None:
            self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """Say that it is ending in order."""
        self._send("STOPPING=1\nSTATUS=finishing what is in hand")

    def _send(self, text: str) -> None:
        if self.address is None:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)  # a manager that does not read must not hold us up  # noqa: FBT003
            sock.sendto(text.encode(), self.address)


def notifier(environment: MutableMapping[str, str] | None = None) -> Notifier:
    """Return the notifier that this process's environment names, and take it out of there: it is not for children."""
    variables = os.environ if environment is None else environment
    address = variables.pop("NOTIFY_SOCKET", "")
    microseconds, whose = variables.pop("WATCHDOG_USEC", ""), variables.pop("WATCHDOG_PID", "")
    ours = microseconds.isdigit() and whose in {"", str(os.getpid())}
    name = "\0" + address[1:] if address.startswith("@") else address
    return Notifier(name or None, int(microseconds) / _USEC if address and ours else None)


def passed_socket(environment: MutableMapping[str, str] | None = None) -> int | None:
    """Return the descriptor of the listening socket that a socket unit passed to this very process, or None."""
    variables = os.environ if environment is None else environment
    count, whose = variables.pop("LISTEN_FDS", ""), variables.pop("LISTEN_PID", "")
    variables.pop("LISTEN_FDNAMES", None)
    if not count.isdigit() or int(count) < 1 or whose != str(os.getpid()):
        return None
    os.set_inheritable(_FIRST_PASSED, False)  # noqa: FBT003 - the standard library's own parameter
    return _FIRST_PASSED
