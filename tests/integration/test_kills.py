"""kill -9 of every process at moments nobody chose: what was acknowledged stays, and there is one result a version."""

from __future__ import annotations

import os
import random
import time

import pytest

from tests.support.killing import Killer
from tests.support.orthanc import Forward
from tests.support.sender import RawSender
from tests.support.system import System, result_problems

pytestmark = pytest.mark.timeout(300)

#: One round by default; a longer hunt is DICOM_NODE_KILL_SEEDS=1,2,3,…
SEEDS = [int(seed) for seed in os.environ.get("DICOM_NODE_KILL_SEEDS", "7").split(",")]


@pytest.mark.usefixtures("orthanc_installed")
@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_acknowledged_is_lost(tmp_path, bundle, factory, seed):
    studies = [factory.study() for _ in range(6)]
    acknowledged: set[str] = set()
    with System(tmp_path, bundle, Forward.NONE, quiet_s=4.0, analysis={"crash_limit": 50}) as system:
        # The limit is for images that kill the worker; here it is the test that does.
        dice = random.Random(seed)  # noqa: S311 - moments, not secrets
        with Killer(system.node, dice, every_s=(0.4, 1.6)) as killer:
            for study in studies:
                acknowledged |= _send_until_taken(system, study)
            killer.at_least(6, limit_s=120)
        system.settle(limit_s=120)

        listed = {row["sop_instance_uid"] for row in system.node.instances()}
        assert acknowledged - listed == set()
        for study in studies:
            published = [
                v for v in system.node.study(study.study_instance_uid)["versions"] if v["state"] == "published"
            ]
            system.wait_result(study, version=published[-1]["version"])
            assert set(published[-1]["views"]) == set(study.sop_instance_uids)
            assert result_problems(system, study, versions=len(published)) == []
        assert {"node", "worker", "supervisor"} <= set(killer.killed)
        assert system.node.ask("audit", "verify")["problem"] is None


def _send_until_taken(system, study) -> set[str]:
    """Send a study's files again and again until each was acknowledged, as a PACS does."""
    sender = RawSender(system.node.port, timeout_s=5)
    waiting = dict(zip(study.sop_instance_uids, study.files, strict=True))
    end = time.monotonic() + 120
    while waiting and time.monotonic() < end:
        answers = zip(list(waiting), sender.send_all(tuple(waiting.values())), strict=True)
        for uid, answer in answers:
            if answer.stored:
                del waiting[uid]
        if waiting:
            time.sleep(0.2)
    assert not waiting
    return set(study.sop_instance_uids)
