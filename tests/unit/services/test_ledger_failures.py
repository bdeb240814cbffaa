"""A ledger that cannot be written for a while ends no loop of the node."""

from __future__ import annotations

import threading

from dicom_node.core.errors import LedgerUnavailable
from dicom_node.services import threads as module
from dicom_node.services.threads import Threads, pause


def test_c39_a_loop_goes_on_when_the_ledger_can_be_written_again(monkeypatch):
    monkeypatch.setattr(module, "_AGAIN_S", 0.0)
    threads, tries = Threads(), []

    def loop():
        tries.append(1)
        if len(tries) < 3:
            raise LedgerUnavailable

    threads.start("loop", loop)
    threads.join(60.0)
    assert len(tries) == 3
    assert not threads.failed
    assert not threads.stopping.is_set()


def test_any_other_failure_stops_the_whole_node():
    threads = Threads()
    threads.start("loop", lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    threads.join(60.0)
    assert threads.failed
    assert threads.stopping.is_set()


def test_a_pause_ends_when_the_node_stops():
    stopping = threading.Event()
    threading.Timer(0.05, stopping.set).start()
    assert pause(stopping, 3600.0)
    assert not pause(threading.Event(), 0.01)
