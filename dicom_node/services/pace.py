"""How long each stage of a job takes, and when the model's is out of all proportion: a throttled or shared device."""

from __future__ import annotations

import statistics
import time
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

FACTOR: Final = 10.0
_KNOWN_MIN: Final = 10
_KNOWN_MAX: Final = 100


class Pace:
    """The times of the last images, milliseconds; holds nothing until enough of them are known."""

    def __init__(self) -> None:
        self._taken: deque[float] = deque(maxlen=_KNOWN_MAX)

    def alert(self, taken_ms: float) -> str | None:
        """Note one image's time; return, in words, that it was more than FACTOR times the median, or None."""
        usual = statistics.median(self._taken) if len(self._taken) >= _KNOWN_MIN else None
        self._taken.append(taken_ms)
        if usual is None or taken_ms <= FACTOR * usual:
            return None
        return f"the model took {taken_ms:.0f} ms for this image, {usual:.0f} ms is usual; look at the device's load"


class Stages:
    """A stop watch for the stages of one job, milliseconds each, in their order."""

    def __init__(self, timer: Callable[[], float] = time.perf_counter) -> None:
        self._timer = timer
        self._since = timer()
        self.took_ms: dict[str, float] = {}

    def end(self, stage: str) -> float:
        """Note that a stage ends now, and the next begins; return how long it took."""
        now = self._timer()
        self.took_ms[stage] = round((now - self._since) * 1000.0, 2)
        self._since = now
        return self.took_ms[stage]
