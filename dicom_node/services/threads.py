"""The node's own threads: woken when there is work, never dying in silence, and never hanging in silence either."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from dicom_node.core.errors import LedgerUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

log = structlog.get_logger(__name__)

_AGAIN_S = _LONGEST_WAIT_S = 5.0
_COALESCE_S = 0.1
TURN_S = 10.0
"""Longest time, seconds, that a turn of a loop takes unless it says otherwise: none sleeps longer than five."""


class Bell:
    """Wakes whoever waits; a ring between two waits is not lost."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._rings = 0
        self._rung_at = 0.0
        self._is_due = False

    def ring_soon(self) -> None:
        """Wake every waiter, at most ten times a second: images that arrive in a row need no more."""
        with self._condition:
            if self._is_due:
                return
            self._is_due = True
            pause = self._rung_at + _COALESCE_S - time.monotonic()
        if pause > 0:
            with suppress(RuntimeError):  # no thread is to be had: whoever waits is woken now
                threading.Timer(pause, self.ring).start()
                return
        self.ring()

    def ring(self) -> None:
        """Wake every waiter."""
        with self._condition:
            self._rings += 1
            self._rung_at, self._is_due = time.monotonic(), False
            self._condition.notify_all()

    def count(self) -> int:
        """Return how often it rang so far: to be passed to `wait`."""
        with self._condition:
            return self._rings

    def wait(self, heard: int, timeout_s: float) -> None:
        """Return once it rang more than `heard` times, or after timeout_s seconds."""
        with self._condition:
            self._condition.wait_for(lambda: self._rings > heard, timeout=max(timeout_s, 0.0))


class Heartbeats:
    """When each loop turned last, and how long a turn of it may take."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._limits: dict[str, float] = {}
        self._turned: dict[str, float] = {}

    def expect(self, name: str, turn_s: float) -> None:
        """Watch a loop from now on; a turn of it takes at most turn_s seconds."""
        with self._lock:
            self._limits[name], self._turned[name] = turn_s, self._clock()

    def beat(self, name: str) -> None:
        """Note that a loop turned; of a loop that is not watched nothing is noted."""
        with self._lock:
            if name in self._limits:
                self._turned[name] = self._clock()

    def forget(self, name: str) -> None:
        """Watch a loop no more: it has ended."""
        with self._lock:
            self._limits.pop(name, None)
            self._turned.pop(name, None)

    def late(self) -> tuple[str, ...]:
        """Return the loops that have not turned for longer than they may."""
        with self._lock:
            now = self._clock()
            return tuple(name for name, turned in self._turned.items() if now - turned > self._limits[name])


class Stopping(threading.Event):
    """Told to stop. A loop asks once a turn, so asking is also the sign that it still turns."""

    def __init__(self, heartbeats: Heartbeats, above: threading.Event | None = None) -> None:
        super().__init__()
        self._heartbeats = heartbeats
        self._above = above

    def is_set(self) -> bool:
        """Tell whether to stop, this loop or all of them, and note that the calling thread's loop turned."""
        self._heartbeats.beat(threading.current_thread().name)
        return super().is_set() or (self._above is not None and self._above.is_set())


class Threads:
    """Starts threads; when one fails the whole process is told to stop, so that it is restarted as a whole."""

    def __init__(self) -> None:
        self.heartbeats = Heartbeats()
        self.stopping = Stopping(self.heartbeats)
        self.failed = False
        self._threads: list[threading.Thread] = []

    def start(self, name: str, target: Callable[[], None], turn_s: float = TURN_S) -> None:
        """Run target in a thread until it returns.

        It must return soon after `stopping` is set, and ask whether it is at least every turn_s seconds.
        Raises RuntimeError where no thread is to be had.
        """
        thread = threading.Thread(target=self._run, args=(name, target, turn_s), name=name, daemon=True)
        self._threads = [one for one in self._threads if one.is_alive()]
        thread.start()
        self._threads.append(thread)

    def _run(self, name: str, target: Callable[[], None], turn_s: float) -> None:
        self.heartbeats.expect(name, turn_s)
        try:
            while self._ended_for_lack_of_a_ledger(name, target):
                self.stopping.wait(_AGAIN_S)
        except Exception:
            # The outermost frame of the thread: what failed is unknown, so the process stops and is started afresh.
            log.exception("thread.failed", thread=name)
            self.failed = True
            self.stopping.set()
        finally:
            self.heartbeats.forget(name)

    def _ended_for_lack_of_a_ledger(self, name: str, target: Callable[[], None]) -> bool:
        """Run target; true where a transaction failed and it is to be run again: it takes all it does from rows."""
        try:
            target()
        except LedgerUnavailable as error:
            log.error("ledger.unavailable", thread=name, reason=str(error))  # noqa: TRY400 - said in one line
            return not self.stopping.is_set()
        return False

    def join(self, timeout_s: float) -> None:
        """Wait for the threads to end, each at most timeout_s seconds."""
        for thread in self._threads:
            thread.join(timeout_s)


def pause(stopping: threading.Event, seconds: float) -> bool:
    """Wait so long; true where the node stops meanwhile. Asks at least every five seconds, as every loop does."""
    end = time.monotonic() + seconds
    while not stopping.is_set():
        left = end - time.monotonic()
        if left <= 0:
            return False
        stopping.wait(min(left, _LONGEST_WAIT_S))
    return True
