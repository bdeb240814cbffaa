"""Signs of life of a supervised program: what systemd hears from a unit (sd_notify), the supervisor hears here."""

from __future__ import annotations

import socket
from contextlib import suppress

WITHIN_S = 20.0  # WatchdogSec of the units
_LONGEST = 4096


class Signs:
    """A socket that one program tells that it is ready, and after that, again and again, that it is alive."""

    def __init__(self, within_s: float = WITHIN_S) -> None:
        self._within_s = within_s
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)  # noqa: FBT003 - the standard library's own parameter
        self._socket.bind("")  # the kernel gives it a name of its own, in no folder
        self._heard_at: float | None = None
        self._looked_at: float | None = None

    def environment(self) -> dict[str, str]:
        """Return the variables by which the program knows where to tell, and how often."""
        name = self._socket.getsockname().decode("ascii").replace("\0", "@", 1)
        return {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": str(round(self._within_s * 1e6))}

    def begin(self) -> None:
        """Begin anew: until a program says that it is ready nothing is expected of it, a model takes its time."""
        self._heard()
        self._heard_at = None

    def are_missing(self, now: float) -> bool:
        """Tell whether the program was heard and is not any more; to be asked often.

        Time in which nobody asked does not count: the supervisor was stopped itself, and its programs with it.
        """
        asked_before, self._looked_at = self._looked_at, now
        was_away = asked_before is not None and now - asked_before > self._within_s / 2
        if self._heard() or (was_away and self._heard_at is not None):
            self._heard_at = now
        return self._heard_at is not None and now - self._heard_at > self._within_s

    def close(self) -> None:
        """Hear nothing more."""
        self._socket.close()

    def _heard(self) -> bool:
        """Take in what was said, and tell whether there was anything."""
        heard = False
        with suppress(BlockingIOError):
            while self._socket.recv(_LONGEST):
                heard = True
        return heard
