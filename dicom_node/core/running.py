"""How long the node has run since a time of its clock, whatever the clock did in between."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

EARLIEST: Final = 1_767_225_600.0
"""1 January 2026: a clock that shows less was never set, for this program is younger."""

_LOOSE_S: Final = 120.0  # how much later than its noted end a run may have ended: it is noted once a minute


@dataclass(frozen=True, slots=True)
class Run:
    """A time in which the node ran and its clock did too, without a step: from and to, epoch seconds."""

    began: float
    ended: float


@dataclass(frozen=True, slots=True)
class Ran:
    """The node's runs, in the order in which they happened; their times may overlap, since clocks are set back."""

    runs: tuple[Run, ...]

    def since(self, at: float) -> float:
        """Return the seconds that the node has certainly run since something was dated `at`.

        What may be of several runs is of the last of them; what is of none was before the first.
        """
        later = 0.0
        for run in reversed(self.runs):
            if run.began <= at <= run.ended + _LOOSE_S:
                return later + max(run.ended - at, 0.0)
            later += run.ended - run.began
        return later

    def until(self, now: float) -> Ran:
        """Return the runs with the last one lasting until now, where that is no longer than since it was noted."""
        if not self.runs or not self.runs[-1].ended <= now <= self.runs[-1].ended + _LOOSE_S:
            return self
        return Ran((*self.runs[:-1], Run(self.runs[-1].began, now)))
