"""When a failed piece of work is tried again, and what became of each part of a result that was sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Proof = Literal["none", "auto", "auto+find", "find", "required"]
"""What a destination must say before a delivery counts as proved.

none: that it stored each object. required: storage commitment. auto: storage commitment where it offers that.
find: that C-FIND finds each object; with auto where it offers no storage commitment.
"""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential back-off with jitter, all in seconds; after `give_up_s` since the first try it is no longer tried."""

    first_s: float
    longest_s: float
    give_up_s: float

    def next_attempt(self, attempts: int, now: float, started: float, jitter: float) -> float | None:
        """Return when to try again after `attempts` failures, or None once the time is used up.

        jitter: a number in [0, 1) drawn by the caller; spreads retries over ±25 %, never beyond the longest wait, so
        that queues do not march in step.
        """
        if now - started >= self.give_up_s:
            return None
        return now + self.wait_s(attempts, jitter)

    def wait_s(self, attempts: int, jitter: float) -> float:
        """Return the seconds to wait after `attempts` failures."""
        # 2**30 s is longer than any limit; the bound keeps the power from overflowing after years of retries.
        wait = self.first_s * 2.0 ** min(max(attempts - 1, 0), 30)
        return min(wait * (0.75 + 0.5 * jitter), self.longest_s)


@dataclass(frozen=True, slots=True)
class Circuit:
    """Whether a destination is being tried: after failures in a row it is left alone until `closed_until`.

    failures: in a row, without a delivery in between. closed_from, closed_until: epoch seconds.
    """

    failures: int = 0
    closed_from: float = 0.0
    closed_until: float = 0.0

    def is_closed(self, now: float) -> bool:
        """Tell whether the destination is left alone; a clock that was set back opens it."""
        return self.closed_from <= now < self.closed_until

    def reopened(self) -> Circuit:
        """Return the circuit that lets the next attempt through, and still knows of the failures before it."""
        return Circuit(self.failures)

    def after_failure(self, backoff: Backoff, now: float, jitter: float, at_least_s: float = 0.0) -> Circuit:
        """Return the circuit after one more failure; at_least_s: how long the destination itself asked to wait."""
        wait = max(backoff.wait_s(self.failures + 1, jitter), at_least_s)
        return Circuit(self.failures + 1, now, now + wait)


@dataclass(frozen=True, slots=True)
class SlotSent:
    """What became of one slot of a result at one destination.

    position: which of the result's objects was stored, None where none was. status: the last answer (DIMSE or HTTP),
    None where nothing was sent. note: what was left out and why, in words.
    """

    slot: str
    position: int | None
    status: int | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a destination made of one result; refused: what a person must look at, None where there is nothing."""

    slots: tuple[SlotSent, ...]
    refused: str | None = None
