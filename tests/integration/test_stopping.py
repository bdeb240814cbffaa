"""Stopping is quick and orderly whatever the peers do, and a killed supervisor leaves nothing running."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from pynetdicom import AE

from tests.support.node import Node
from tests.support.sender import RawSender

pytestmark = pytest.mark.timeout(180)

NO_BUNDLE = Path("/nonexistent")  # these tests need no model
VERIFICATION = "1.2.840.10008.1.1"


@contextmanager
def peers_that_hold_on(port: int):
    """Three peers: one is silent, one stops inside its request, one keeps its association open, as a PACS does."""
    with ExitStack() as stack:
        stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        half = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        half.sendall(b"\x01\x00\x00\x00\x01\x00ab")
        ae = AE(ae_title="PACS")
        ae.add_requested_context(VERIFICATION)
        association = ae.associate("127.0.0.1", port, ae_title="DICOMNODE")
        assert association.is_established
        stack.callback(association.abort)
        time.sleep(0.5)
        yield


def test_sigterm_does_not_wait_for_peers(tmp_path):
    node = Node(tmp_path, NO_BUNDLE).start()
    processes = node.tree()
    with peers_that_hold_on(node.port):
        assert node.stop() == 0
    assert not any(process.is_running() for process in processes)
    assert node.events("node.stopped")
    assert not node.events("child.killed")


def test_after_a_killed_supervisor_the_next_one_takes_over(tmp_path, factory):
    study = factory.study(views=1)
    node = Node(tmp_path, NO_BUNDLE).start()
    try:
        assert RawSender(node.port).send(study.files[0]).stored
        with peers_that_hold_on(node.port):
            node.kill_supervisor()
        node.start()
        assert [row["sop_instance_uid"] for row in node.instances()] == list(study.sop_instance_uids)
    finally:
        node.stop()
