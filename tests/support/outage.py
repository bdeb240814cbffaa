"""A PACS that is down for days on a clock that the test moves, while results for it keep coming."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dicom_node.core.identifiers import derived_uid
from tests.support.parcels import EXPLICIT, SR, write_result
from tests.support.published import Outgoing
from tests.support.stub_pacs import StubPacs

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from dicom_node.ledger.results import ReportObject

_ENHANCED = SR + "22"
_POSITIVE_EVERY = 10
_HOUR_S = 3600.0


def _one_report(folder: Path, study: str, version: int) -> tuple[ReportObject, ...]:
    """Write the smallest result: a report of one class."""
    return tuple(item for item in write_result(folder, study, version, ("22",)) if item.slot == "sr")


@dataclass
class Delivered:
    """What came of an outage; seconds are those of the moved clock."""

    tries: int
    longest_pause_s: float
    first_s: float
    all_s: float
    stored: list[str]
    wanted: list[str]  # in the order that is fair: the positive results first, then each as it came
    dead: int

    @property
    def is_whole(self) -> bool:
        """Whether everything was delivered, once, in the fair order."""
        return self.stored == self.wanted and not self.dead


class Outage:
    """A queue for one PACS: `fill` while it is down, `end` when it is back."""

    def __init__(self, root: Path, began: float, **settings: Any) -> None:
        self.now = began
        self.pacs = StubPacs((_ENHANCED, EXPLICIT))
        self.node = Outgoing(root, self.pacs.destination(**settings), clock=lambda: self.now)
        self._courier = self.node.courier("pacs")
        self._tries: list[float] = []
        self._published: list[tuple[bool, str]] = []

    def fill(self, results: int, hours: float) -> None:
        """Publish results evenly over the hours, and let the courier try whenever it wants to."""
        began, end = self.now, self.now + hours * _HOUR_S
        while self.now < end:
            due = int((self.now - began) / (end - began) * results) + 1
            while len(self._published) < min(due, results):
                self._publish()
            if self._courier.step():
                self._tries.append(self.now)
            self.now += 1.0

    def _publish(self) -> None:
        number = len(self._published)
        study, positive = f"1.2.{number}", number % _POSITIVE_EVERY == 0
        self.node.publish(study, outcome="positive" if positive else "negative", write=_one_report)
        self._published.append((positive, derived_uid(study, "1", "22")))

    def end(self) -> Delivered:
        """Bring the PACS back and let the courier work until nothing waits."""
        back, first, waiting = self.now, -1.0, len(self._published)
        with self.pacs:
            while waiting:
                if not self._courier.step():
                    self.now += 1.0
                    continue
                waiting = self.node.known("pacs")["waiting"]
                first = self.now - back if first < 0 else first
        pauses = [after - before for before, after in zip(self._tries, self._tries[1:], strict=False)]
        urgent = [uid for positive, uid in self._published if positive]
        others = [uid for positive, uid in self._published if not positive]
        stored = [uid for _, uid, _ in self.pacs.stored]
        dead = self.node.known("pacs")["dead"]
        longest = max(pauses, default=0.0)
        return Delivered(len(self._tries), longest, first, self.now - back, stored, urgent + others, dead)
