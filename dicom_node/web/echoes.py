"""Echoes that a person asked for on the page: one at a time, and the last answer of each destination."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dicom_node.web.outside import Outside


@dataclass(frozen=True, slots=True)
class Echo:
    """When a destination was asked (epoch seconds), after how many milliseconds it answered, or what is wrong."""

    at: float
    ms: float
    problem: str | None


class Echoes:
    """The last echo of each destination since the page was started."""

    def __init__(self, outside: Outside) -> None:
        self._outside = outside
        self._one_at_a_time = threading.Lock()
        self._last: dict[str, Echo] = {}

    def last(self, name: str) -> Echo | None:
        """Return the last echo of a destination, if it was asked."""
        return self._last.get(name)

    def ask(self, name: str) -> bool:
        """Ask a destination and keep its answer; false where another is being asked just now."""
        if not self._one_at_a_time.acquire(blocking=False):
            return False
        try:
            begun = self._outside.clock()
            problem = self._outside.echo(name)
            self._last[name] = Echo(begun, (self._outside.clock() - begun) * 1000.0, problem)
        finally:
            self._one_at_a_time.release()
        return True
