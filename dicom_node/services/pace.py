"""How long the model takes for an image, and when that is out of all proportion: a throttled or shared device."""

from __future__ import annotations

import statistics
from collections import deque
from typing import Final

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
