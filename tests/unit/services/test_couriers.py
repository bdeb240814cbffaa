"""Destinations come, change and leave while the node runs; what is in hand is not taken out of it."""

from __future__ import annotations

import threading
import time

from dicom_node.destination_settings import Hl7Destination
from dicom_node.ledger.database import open_ledger
from dicom_node.ledger.spool import StateFolders
from dicom_node.services.couriers import Couriers
from dicom_node.services.threads import Bell, Threads
from tests.support.waiting import until


class FakeCourier:
    """Notes its address while it runs; asked to stop, it has something in hand until `may_end` is set."""

    running: list[int]
    seen: list[int]
    may_end: threading.Event

    def __init__(self, destination, _calling_ae, place, _folders):
        self.port, self.stopping = destination.port, place.stopping

    def run(self):
        self.running.append(self.port)
        self.seen.append(self.port)
        while not self.stopping.is_set():
            self.stopping.wait(0.01)
        self.may_end.wait(60)
        self.running.remove(self.port)


def test_a_changed_destination_is_served_once_the_delivery_in_hand_is_done(tmp_path, monkeypatch):
    monkeypatch.setattr("dicom_node.services.delivering.Courier", FakeCourier)
    monkeypatch.setattr("dicom_node.services.couriers._LOOK_S", 0.01)
    FakeCourier.running, FakeCourier.seen, FakeCourier.may_end = [], [], threading.Event()
    ledger, threads = open_ledger(tmp_path / "ledger.sqlite"), Threads()
    couriers = Couriers(ledger, StateFolders(tmp_path), Bell(), threads, "NODE", time.time)
    before, after = (Hl7Destination(name="ris", kind="hl7", host="h", port=port) for port in (1, 2))
    couriers.apply((before,))
    until(lambda: FakeCourier.running == [1], 60, "the first runs")
    couriers.apply((after,))
    until(
        lambda: len([one for one in threading.enumerate() if one.name == "courier-ris-2"]) == 1, 60, "the second waits"
    )
    threading.Event().wait(0.2)  # time enough for it to begin, if it did not wait
    assert FakeCourier.seen == [1]
    FakeCourier.may_end.set()
    until(lambda: FakeCourier.running == [2], 60, "the second runs alone")
    couriers.apply(())
    until(lambda: FakeCourier.running == [], 60, "none runs")
    threads.join(60)
    ledger.close()
    assert not threads.failed
