"""The node's clock: a step of the machine's clock comes in only together with everything that waits by it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import structlog

from dicom_node.core.errors import LedgerUnavailable
from dicom_node.core.running import EARLIEST
from dicom_node.ledger import audit, redating, running
from dicom_node.services.threads import pause

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from dicom_node.ledger.database import Database
    from dicom_node.services.threads import Bell

log = structlog.get_logger(__name__)

_EVERY_S = 1.0
_NOTE_EVERY_S = 60.0
_STEP_S = 5.0  # less is harmless, and what NTP does day by day
_BACK = "the clock went back by {:.0f} s {}; what was dated before may have a wrong date"
_AHEAD = "the clock went ahead by {:.0f} s {}; what was dated before may have a wrong date"
_GAP = "the node was off for {:.0f} s, or the clock leapt; what waits is not given up sooner for it"
_OFF_S = 86_400.0  # a node that was off for longer cannot tell that from a clock that leapt


def since_boot() -> float:
    """Return the seconds since the machine started, sleep included: what no setting of the clock changes."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Clock:
    """Epoch seconds that run steadily from where they were last set."""

    def __init__(self, wall: Callable[[], float] = time.time, steady: Callable[[], float] = since_boot) -> None:
        self._wall, self._steady = wall, steady
        self._offset = wall() - steady()

    def __call__(self) -> float:
        """Return the time."""
        return self._offset + self._steady()

    def behind(self) -> float:
        """Return by how many seconds the machine's clock is ahead of this one (negative: behind it)."""
        return self._wall() - self()

    def move(self, by: float) -> None:
        """Set this clock by so many seconds."""
        self._offset += by


class Timekeeper:
    """Follows the machine's clock; a step is noted, and what waits is moved along in the same transaction."""

    def __init__(self, ledger: Database, clock: Clock, bell: Bell, stopping: threading.Event) -> None:
        self._ledger = ledger
        self._clock = clock
        self._bell = bell
        self._stopping = stopping
        self._noted_at = 0.0

    def begin(self) -> None:
        """Hold the clock against the last time of the ledger, before anything goes by it."""
        now = self._clock()
        if now < EARLIEST:
            log.error("clock.not-set", reason="set the clock: reports carry its date", shows=round(now))
        with self._ledger.transaction() as connection:
            running.adopt(connection)
            runs = running.read(connection).runs
            gap = now - runs[-1].ended if runs else 0.0
            if gap < -_STEP_S:
                self._note(connection, "clock.stepped", gap, now, _BACK.format(-gap, "since the node last ran"))
            elif gap > _OFF_S:
                self._note(connection, "clock.gap", gap, now, _GAP.format(gap))
            running.begin(connection, now)
            hastened = redating.hasten(connection, now)
        if hastened:
            log.warning("clock.hastened", rows=hastened)

    def run(self) -> None:
        """Follow the clock until the node stops."""
        while not pause(self._stopping, _EVERY_S):
            self.step()

    def step(self) -> None:
        """Look at the machine's clock once."""
        by = self._clock.behind()
        if abs(by) > _STEP_S:
            self._follow_step(by)
            return
        self._clock.move(by)
        if time.monotonic() - self._noted_at >= _NOTE_EVERY_S:
            self._noted_at = time.monotonic()
            with self._ledger.transaction() as connection:
                running.extend(connection, self._clock())

    def _follow_step(self, by: float) -> None:
        moved = False
        try:
            with self._ledger.transaction() as connection:
                running.extend(connection, self._clock())
                self._clock.move(by)
                moved = True
                now = self._clock()
                detail = (_AHEAD if by > 0 else _BACK).format(abs(by), "while the node ran")
                self._note(connection, "clock.stepped", by, now, detail)
                running.begin(connection, now)
                redating.hasten(connection, now)
        except LedgerUnavailable:
            if moved:
                self._clock.move(-by)
            raise
        self._bell.ring()

    def _note(self, connection: Any, event: str, by: float, now: float, detail: str) -> None:
        redating.shift(connection, by)
        audit.note(connection, now, event, detail=detail, by_s=round(by, 3))
        log.warning(event, by_s=round(by, 1), reason=detail)
