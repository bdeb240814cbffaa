"""A running node whose disk is nearly full, fails, or is emptied by hand."""

from __future__ import annotations

import signal
import subprocess

import pytest

from tests.integration.conftest import require
from tests.support import syscalls
from tests.support.node import Node, command, names_below, unfinished
from tests.support.sender import RawSender
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def node(tmp_path, bundle):
    node = Node(tmp_path, bundle, quiet_s=60.0)
    node.settings["keep"] = {"soft_reserve_mib": 0}
    yield node
    node.stop()


def test_c39_below_the_soft_watermark_an_association_is_told_to_come_back(node, factory):
    node.settings["keep"] = {"soft_reserve_mib": 1 << 40}
    node.start(wait_worker=False)
    (answer,) = RawSender(node.port).send_all(factory.study(views=1).files)
    assert (answer.status, answer.outcome) == (None, "association rejected")


def test_c40_a_failed_sync_is_refused_and_so_is_all_that_follows_until_the_disk_works(node, factory):
    require(syscalls.is_installed(), "strace")
    node.start(wait_worker=False)
    study, later = factory.study(views=2), factory.study(views=1)
    process = node.process("node")
    assert process is not None
    # Both: with a sync that works the keeper would find the disk mended, whenever it looks.
    line = ["strace", "-f", "-p", str(process.pid), "-o", "/dev/null", "-e", "inject=fsync,fdatasync:error=EIO:when=1+"]
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as tracer:
        assert tracer.stderr is not None
        assert "attached" in tracer.stderr.readline()
        try:
            answers = RawSender(node.port).send_all(study.files)
            assert [answer.status for answer in answers] == [0xA700, 0xA700]
            assert RawSender(node.port).send_all(later.files)[0].outcome == "association rejected"
        finally:
            tracer.send_signal(signal.SIGTERM)  # it lets go; the node runs on
            tracer.stderr.read()
    assert [event["reason"] for event in node.events("device.failed")] == ["storage failed (EIO)"]
    until(lambda: node.events("device.recovered"), 60, "the disk is tried again", every_s=0.2)
    assert node.process("node").pid == process.pid, "without a restart"
    until(lambda: unfinished(node.state_dir) == [], 10, "nothing is left half done")
    assert all(answer.stored for answer in RawSender(node.port).send_all(study.files))
    assert {row["sop_instance_uid"] for row in node.instances()} == set(study.sop_instance_uids)


def test_what_is_purged_by_hand_is_gone_from_the_disk_and_told_in_the_trail(system, factory):
    study, node = factory.study(views=2), system.node
    system.upload(study)
    system.wait_result(study)
    uid = study.study_instance_uid
    until(lambda: node.study(uid)["deliveries"][0]["proof"] == "committed", 60, "Orthanc commits")
    line = [command(), "purge", uid, "--config", str(node.config)]
    assert "of 1 study;" in subprocess.run(line, capture_output=True, text=True, check=True).stdout
    rows = [row for row in node.instances() if row["study_instance_uid"] == uid and row["role"] == "view"]
    assert [row["storage"] for row in rows] == ["purged", "purged"]

    def held() -> int:
        return sum(name.endswith(".dcm") for name in names_below(node.state_dir / "instances"))

    until(lambda: held() == sum(row["storage"] == "spool" for row in node.instances()), 10, "a file for each row")
    assert not (node.state_dir / node.study(uid)["versions"][0]["folder"]).exists()
    assert node.ask("audit", "show", uid)[-1]["detail"] == "2 instances removed: by hand"
    assert subprocess.run(line, capture_output=True, check=False).returncode == 1
