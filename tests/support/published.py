"""A ledger with published results, and the couriers that deliver them: the node's outgoing half without the rest."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter
from sqlalchemy import insert

from dicom_node.destination_settings import DestinationSettings
from dicom_node.ledger import database, results
from dicom_node.ledger.database import open_ledger
from dicom_node.ledger.overview import Overview
from dicom_node.ledger.results import Published
from dicom_node.ledger.spool import StateFolders, folder_digest
from dicom_node.services.confirming import Asker, Reports
from dicom_node.services.delivering import Courier
from dicom_node.services.rounds import Workplace
from dicom_node.services.threads import Bell, Threads
from tests.support.parcels import write_result

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from typing_extensions import Self

    from dicom_node.ledger.server import Server

_DESTINATION: TypeAdapter[DestinationSettings] = TypeAdapter(DestinationSettings)


class Outgoing:
    """Results in a ledger; each destination has a courier of its own, started by `run`."""

    def __init__(
        self,
        root: Path,
        *destinations: dict[str, Any],
        clock: Callable[[], float] = time.time,
        server: Server | None = None,
    ) -> None:
        quick = {"retry_first_s": 0.1, "retry_longest_s": 0.4, "timeout_s": 20.0}
        self.destinations = [_DESTINATION.validate_python(quick | item) for item in destinations]
        self.folders = StateFolders(root, server)
        self.folders.create()
        self.ledger = open_ledger(self.folders.ledger)
        self.threads, self.bell = Threads(), Bell()
        self._clock = clock
        self.reports = Reports(self.ledger, self.bell, clock)

    def publish(
        self, study: str, version: int = 1, outcome: str = "negative", write: Callable[..., Any] = write_result
    ) -> None:
        """Publish a version of a study to every destination."""
        with self.ledger.transaction() as connection:
            study_id = self._study(connection, study)
            row = {"study_id": study_id, "number": version, "state": "composing", "closed_at": self._clock()}
            version_id = connection.execute(insert(database.version).values(**row)).inserted_primary_key[0]
            folder = f"results/{study}-{version}"
            objects = write(self.folders.root / folder, study, version)
            published = Published(
                outcome, None, None, None, "bundle", folder, folder_digest(self.folders.root / folder), objects
            )
            names = tuple(item.name for item in self.destinations)
            assert results.publish(connection, version_id, published, names, self._clock())
        self.bell.ring()

    def _study(self, connection: Any, uid: str) -> int:
        known = connection.execute(database.study.select().where(database.study.c.study_instance_uid == uid)).first()
        if known is not None:
            return int(known.id)
        times = {"first_received_at": 0.0, "last_received_at": 0.0, "closes_at": 0.0}
        done = connection.execute(insert(database.study).values(study_instance_uid=uid, state="closed", **times))
        return int(done.inserted_primary_key[0])

    def courier(self, name: str, dice: Callable[[], float] = random.random) -> Courier:
        """Return the courier of one destination."""
        destination = next(item for item in self.destinations if item.name == name)
        return Courier(destination, "NODE", self._workplace(dice), self.folders)

    def asker(self, name: str, stay_s: float = 2.0) -> Asker:
        """Return who asks one destination for proofs."""
        destination = next(item for item in self.destinations if item.name == name)
        return Asker(destination, "DICOMNODE", self._workplace(random.random), self.reports, stay_s=stay_s)

    def _workplace(self, dice: Callable[[], float]) -> Workplace:
        return Workplace(self.ledger, self.bell, self._clock, dice, self.threads.stopping)

    def run(self) -> Self:
        """Start every courier in a thread of its own, as the node does."""
        for item in self.destinations:
            self.threads.start(f"courier-{item.name}", self.courier(item.name).run)
        return self

    def delivery(self, study: str, destination: str, version: int = 1) -> dict[str, Any]:
        """Return what the ledger says of one delivery."""
        found = Overview(self.folders.ledger).study(study)
        assert found is not None
        return next(d for d in found["deliveries"] if (d["destination"], d["version"]) == (destination, version))

    def known(self, destination: str) -> dict[str, Any]:
        """Return what the ledger says of a destination."""
        return Overview(self.folders.ledger).destinations()[destination]

    def until(self, condition: Callable[[], bool], limit_s: float = 60.0) -> None:
        """Wait until something has come true."""
        deadline = time.monotonic() + limit_s
        while not condition():
            assert time.monotonic() < deadline, "did not come true in time"
            assert not self.threads.failed
            threading.Event().wait(0.02)

    def until_done(self, study: str, destination: str, version: int = 1) -> dict[str, Any]:
        """Wait until a version of a study was delivered; returns the delivery."""
        self.until(lambda: self.delivery(study, destination, version)["state"] == "done")
        return self.delivery(study, destination, version)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.threads.stopping.set()
        self.bell.ring()
        self.threads.join(30.0)
        self.ledger.close()
