"""SIGTERM while a study is being sent: what is in hand is finished and acknowledged, nothing new is begun."""

from __future__ import annotations

import signal
import socket
import threading
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from tests.support.halfway import Halfway
from tests.support.node import Node
from tests.support.waiting import is_open, until

pytestmark = pytest.mark.timeout(300)
NO_BUNDLE = Path("/nonexistent")


def test_c47_a_c_store_in_hand_is_finished_and_stalled_peers_hold_nothing_up(tmp_path, factory):
    study = factory.study(views=1)
    with ExitStack() as stack:
        node = Node(tmp_path, NO_BUNDLE).start()
        stack.callback(node.stop)  # where the test fails before it does so itself
        for _ in range(5):
            stack.enter_context(socket.create_connection(("127.0.0.1", node.port))).sendall(
                b"\x01\x00\x00\x00\x01\x00a"
            )
        half = stack.enter_context(Halfway(node.port, study.files[0]))
        stopped: list[int | None] = []
        stopping = threading.Thread(target=lambda: stopped.append(node.stop(limit_s=45)))
        stopping.start()
        until(lambda: not is_open(node.port), 60, "the node takes no new associations")
        assert not stopped, "it waits for the instance that is on its way"
        answer = half.go_on()
        stopping.join(45)
    assert answer is not None
    assert answer.stored, answer
    assert stopped == [0]
    assert not node.events("child.killed")
    assert [row["sop_instance_uid"] for row in node.instances()] == list(study.sop_instance_uids)


def test_c49_sighup_reads_the_configuration_again_and_a_bad_file_changes_nothing(tmp_path):
    node = Node(tmp_path, NO_BUNDLE).start()
    try:
        child = node.process("node")
        assert isinstance(child, psutil.Process)
        node.config.write_text(node.config.read_text().replace("quiet_s = 1.0", "quiet_s = -1"))
        child.send_signal(signal.SIGHUP)
        refused = until(lambda: node.events("reload.refused"), 60, "the bad file is refused")
        assert f"{node.config}:" in refused[0]["reason"]
        assert "study.quiet_s" in refused[0]["reason"]
        node.config.write_text(node.config.read_text().replace("quiet_s = -1", "quiet_s = 5.0"))
        child.send_signal(signal.SIGHUP)
        applied = until(lambda: node.events("reload.applied"), 60, "the good one is applied")
        assert applied[0]["applied"] == ["study.quiet_s"]
        assert child.is_running()
    finally:
        node.stop()
