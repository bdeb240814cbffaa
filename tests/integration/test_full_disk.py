"""A node on a disk that is full, really: of bytes and of inodes."""

from __future__ import annotations

import os

import pytest

from tests.integration.conftest import require
from tests.support.small_disk import CrampedNode, missing, remove, small_disk
from tests.support.waiting import until
from tests.support.wire import CR, EXPLICIT, RawPeer, context

pytestmark = pytest.mark.timeout(180)

FULL = 0xA700
MB = 1 << 20


@pytest.fixture
def cramped(tmp_path):
    """Return how to start a node on a disk of 64 MiB and a thousand files."""
    lack = missing()
    require(not lack or os.geteuid() != 0, lack)  # as root it must work, in CI too
    if lack:
        pytest.skip(f"needs {lack}")
    with small_disk(tmp_path / "disk", "size=64m,nr_inodes=1000") as disk:
        yield lambda **marks: CrampedNode(tmp_path, disk, **marks)


def test_c39_the_watermarks_answer_before_the_disk_is_full_and_take_nothing_back(cramped):
    with cramped(reserve_mib=16, soft_mib=24, ledger_mib=4) as node:
        ballast = node.ballast(16)
        with RawPeer(node.port) as peer:
            peer.associate(context(1, CR, (EXPLICIT,)))
            assert node.until_refused(4 * MB, peer) == FULL
            assert os.statvfs(node.state.root).f_bavail * 4096 >= 12 * MB, "the reserve is nobody's"
            assert not node.accepts()
            remove(ballast)
            assert node.store(MB, peer) == 0, "on the association that was refused before"
        assert node.accepts()
        assert node.stop() == 0
        assert len(node.acknowledged) > 3
        assert node.problems() == []


def test_c39_a_disk_that_is_full_to_the_last_page_loses_nothing_and_goes_on_without_a_restart(cramped):
    with cramped(reserve_mib=0, soft_mib=0, ledger_mib=2) as node:
        assert node.store(MB) == 0
        ballast = node.fill()
        assert [node.store(MB) for _ in range(3)] == [FULL] * 3
        remove(ballast)
        until(lambda: node.store(MB) == 0, 60, "it receives again")
        assert node.until_refused(4 * MB) == FULL, "the instances themselves have filled it"
        assert node.until_refused(8192) == FULL
        assert node.alive()
        assert node.stop() == 0
        assert node.problems() == []


def test_c39_without_inodes_instances_are_refused_and_nothing_acknowledged_is_lost(cramped):
    with cramped(reserve_mib=0, soft_mib=0, ledger_mib=2) as node:
        files = node.take_inodes()
        assert node.until_refused(8192) == FULL
        remove(files)
        until(lambda: node.store(8192) == 0, 60, "it receives again")
        assert node.alive()
        assert node.stop() == 0
        assert node.problems() == []
