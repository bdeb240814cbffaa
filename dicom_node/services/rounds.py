"""The loop of whoever serves one destination: what is due is done; a destination that failed is left alone a while."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dicom_node.core.delivery import Circuit

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from dicom_node.core.delivery import Backoff
    from dicom_node.ledger.database import Database
    from dicom_node.services.threads import Bell

_LONGEST_SLEEP_S = 5.0
_SHORTEST_SLEEP_S = 0.2  # something is due but waits: for an earlier version of its study, or for the destination


@dataclass(frozen=True, slots=True)
class Workplace:
    """What a loop of the node works with; dice: draws a number in [0, 1)."""

    ledger: Database
    bell: Bell
    clock: Callable[[], float]
    dice: Callable[[], float]
    stopping: threading.Event


class Rounds(ABC):
    """One destination's loop; a subclass says what is due, and does it."""

    def __init__(self, backoff: Backoff, place: Workplace) -> None:
        self._backoff = backoff
        self._circuit = Circuit()
        self._ledger = place.ledger
        self._bell = place.bell
        self._clock = place.clock
        self._dice = place.dice
        self._stopping = place.stopping

    def run(self) -> None:
        """Go on until the node stops."""
        while not self._stopping.is_set():
            heard = self._bell.count()
            if not self.step():
                self._bell.wait(heard, self._pause())

    @abstractmethod
    def step(self) -> bool:
        """Do what is due over one connection; false where nothing is, or the destination is left alone."""

    @abstractmethod
    def _next_due(self, connection: Any) -> float | None:
        """Return when something is due next (epoch seconds), or None."""

    def _pause(self) -> float:
        with self._ledger.transaction() as connection:
            due = self._next_due(connection)
        if due is None:
            return _LONGEST_SLEEP_S
        return min(max(max(due, self._circuit.closed_until) - self._clock(), _SHORTEST_SLEEP_S), _LONGEST_SLEEP_S)
