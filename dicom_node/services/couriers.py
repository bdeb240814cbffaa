"""One courier for each destination: started, and stopped again when its destination leaves or changes."""

from __future__ import annotations

import random
import time
from itertools import count
from typing import TYPE_CHECKING

import structlog

from dicom_node.services.delivering import Courier
from dicom_node.services.threads import Bell, Stopping, Threads

if TYPE_CHECKING:
    from dicom_node.ledger.database import Database
    from dicom_node.ledger.spool import StateFolders
    from dicom_node.settings import DestinationSettings

log = structlog.get_logger(__name__)

_WAITS_A_DELIVERY = 20  # connecting, then each object's sending and answer, every one bounded by the time-out


class Couriers:
    """The couriers of a node."""

    def __init__(self, ledger: Database, folders: StateFolders, bell: Bell, threads: Threads, calling_ae: str) -> None:
        self._ledger = ledger
        self._folders = folders
        self._bell = bell
        self._threads = threads
        self._calling_ae = calling_ae
        self._running: dict[DestinationSettings, Stopping] = {}
        self._numbers = count(1)

    def apply(self, destinations: tuple[DestinationSettings, ...]) -> None:
        """Serve these destinations from now on, and no others; a delivery in hand is finished first."""
        for destination in [one for one in self._running if one not in destinations]:
            self._running.pop(destination).set()
            log.info("destination.left", destination=destination.name)
        for destination in destinations:
            if destination not in self._running:
                self._running[destination] = self._start(destination)
        self._bell.ring()

    def _start(self, destination: DestinationSettings) -> Stopping:
        stopping = Stopping(self._threads.heartbeats, self._threads.stopping)
        courier = Courier(
            destination,
            self._calling_ae,
            ledger=self._ledger,
            folders=self._folders,
            bell=self._bell,
            clock=time.time,
            dice=random.random,
            stopping=stopping,
        )
        name = f"courier-{destination.name}-{next(self._numbers)}"
        self._threads.start(name, courier.run, destination.timeout_s * _WAITS_A_DELIVERY)
        return stopping
