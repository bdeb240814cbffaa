"""One courier for each destination: started, and stopped again when its destination leaves or changes."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import TYPE_CHECKING

import structlog

from dicom_node.destination_settings import DicomDestination, demand_of
from dicom_node.ledger import commitments, outbox
from dicom_node.services.rounds import Workplace
from dicom_node.services.threads import Bell, Stopping, Threads

if TYPE_CHECKING:
    from collections.abc import Callable

    from dicom_node.destination_settings import DestinationSettings
    from dicom_node.dimse.commitment import Report
    from dicom_node.ledger.database import Database
    from dicom_node.ledger.spool import StateFolders
    from dicom_node.services.confirming import Reports
    from dicom_node.services.delivering import Courier

log = structlog.get_logger(__name__)

_WAITS_A_DELIVERY = 20  # connecting, then each object's sending and answer, every one bounded by the time-out
_LOOK_S = 1.0


@dataclass(frozen=True, slots=True)
class _Running:
    """A courier that runs: how to stop it, and whether it has ended."""

    stopping: Stopping
    ended: threading.Event = field(default_factory=threading.Event)
    courier: list[Courier] = field(default_factory=list)  # once it has begun: one


class Couriers:
    """The couriers of a node."""

    def __init__(
        self,
        ledger: Database,
        folders: StateFolders,
        bell: Bell,
        threads: Threads,
        calling_ae: str,
        clock: Callable[[], float],
    ) -> None:
        self._ledger = ledger
        self._folders = folders
        self._bell = bell
        self._threads = threads
        self._calling_ae = calling_ae
        self._clock = clock
        self._running: dict[DestinationSettings, _Running] = {}
        self._last: dict[str, _Running] = {}
        self._numbers = count(1)

    def apply(self, destinations: tuple[DestinationSettings, ...]) -> None:
        """Serve these destinations from now on, and no others; a delivery in hand is finished first."""
        with self._ledger.transaction() as connection:
            commitments.adopt(connection, {item.name: demand_of(item) for item in destinations}, self._clock())
        for destination in [one for one in self._running if one not in destinations]:
            self._running.pop(destination).stopping.set()
            log.info("destination.left", destination=destination.name)
        for destination in destinations:
            if destination not in self._running:
                self._running[destination] = self._start(destination)
        self._bell.ring()

    def _start(self, destination: DestinationSettings) -> _Running:
        running = _Running(Stopping(self._threads.heartbeats, self._threads.stopping))
        number = next(self._numbers)
        before = self._last.get(destination.name)
        self._last[destination.name] = running
        target = partial(self._deliver, destination, running, before)
        turn_s = destination.timeout_s * _WAITS_A_DELIVERY
        self._threads.start(f"courier-{destination.name}-{number}", target, turn_s)
        if isinstance(destination, DicomDestination) and demand_of(destination) != "none":
            asking = partial(self._ask, destination, running)
            self._threads.start(f"asker-{destination.name}-{number}", asking, turn_s)
        return running

    def reopen(self, name: str = "") -> tuple[str, ...]:
        """Let the destinations, or the one called so, be asked now that are left alone after a failure; name these."""
        running = [one for item, one in tuple(self._running.items()) if name in {"", item.name}]
        return tuple(sorted(found for one in running for courier in one.courier if (found := courier.reopen())))

    def take_report(self, report: Report) -> int:
        """Write down what a PACS reports of storage commitment, on an association of its own; returns the status."""
        return self._reports().take(report)

    def _reports(self) -> Reports:
        from dicom_node.services.confirming import Reports  # noqa: PLC0415 - as below

        return Reports(self._ledger, self._bell, self._clock)

    def _ask(self, destination: DicomDestination, running: _Running) -> None:
        from dicom_node.services.confirming import Asker  # noqa: PLC0415 - as below

        asker = Asker(destination, self._calling_ae, self._workplace(running.stopping), self._reports())
        asker.run()

    def _deliver(self, destination: DestinationSettings, running: _Running, before: _Running | None) -> None:
        """Run a courier, at the start and after a failure of the ledger: what it had in hand is taken up again.

        One that served the destination before is waited for, so that nothing is taken out of its hand.
        """
        while before is not None and not running.stopping.is_set() and not before.ended.wait(_LOOK_S):
            pass
        if running.stopping.is_set():
            running.ended.set()
            return
        with self._ledger.transaction() as connection:
            outbox.release_all(connection, destination.name)
        running.courier[:] = [self._courier(destination, running.stopping)]
        running.courier[0].run()
        running.ended.set()

    def _courier(self, destination: DestinationSettings, stopping: Stopping) -> Courier:
        # pynetdicom takes a tenth of a second to import: the node listens meanwhile.
        from dicom_node.services.delivering import Courier  # noqa: PLC0415

        return Courier(destination, self._calling_ae, self._workplace(stopping), self._folders)

    def _workplace(self, stopping: Stopping) -> Workplace:
        return Workplace(self._ledger, self._bell, self._clock, random.random, stopping)
