"""When a failed piece of work is tried again."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential back-off with jitter, all in seconds; after `give_up_s` since the first try it is no longer tried."""

    first_s: float
    longest_s: float
    give_up_s: float

    def next_attempt(self, attempts: int, now: float, started: float, jitter: float) -> float | None:
        """Return when to try again after `attempts` failures, or None once the time is used up.

        jitter: a number in [0, 1) drawn by the caller; spreads retries over ±25 % so that queues do not march in step.
        """
        if now - started >= self.give_up_s:
            return None
        # 2**30 s is longer than any limit; the bound keeps the power from overflowing after years of retries.
        wait = min(self.first_s * 2.0 ** min(max(attempts - 1, 0), 30), self.longest_s)
        return now + wait * (0.75 + 0.5 * jitter)
