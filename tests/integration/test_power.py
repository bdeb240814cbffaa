"""A power cut at any system call: what was acknowledged is on the disk, and what was torn is found."""

from __future__ import annotations

import random

import pytest

from dicom_node.intake.homing import bring_home
from dicom_node.ledger.database import open_ledger
from dicom_node.ledger.overview import Overview
from dicom_node.ledger.spool import StateFolders
from tests.integration.conftest import require
from tests.support import power, syscalls
from tests.support.survival import cut_points, problems_after_cut, spread

pytestmark = pytest.mark.timeout(300)
SHORT = 16  # of some hundred; `scripts/bench crashes` takes 200, strict and lenient


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Return the state folder of a recorded walk, and its system calls."""
    require(syscalls.is_installed(), "strace")
    folder = tmp_path_factory.mktemp("recorded")
    run = syscalls.walk_recorded(folder / "state", folder / "record")
    assert run.code == 0
    return folder / "state", list(power.calls(folder / "record"))


def test_c38_a_power_cut_at_any_point_loses_and_doubles_nothing(recorded, tmp_path):
    root, calls = recorded
    for number, at in enumerate(spread(cut_points(calls), SHORT)):
        dice = random.Random(number) if number % 2 else None  # noqa: S311 - chances, not secrets
        assert problems_after_cut(calls, at, root, tmp_path / str(number), dice, power.Disk) == [], (at, calls[at].name)


def test_the_model_of_the_disk_finds_what_a_missing_sync_would_lose(recorded, tmp_path):
    class Deaf(power.Disk):
        """Forgets every sync but the ledger's own."""

        def _fsync(self, call):
            what, _ = self._open.get(call.descriptor, (None, 0))
            if what in [self.top.now.get(f"ledger.sqlite{end}") for end in ("", "-wal")]:
                what.sync()

        _fdatasync = _fsync

    root, calls = recorded
    at = max(index for index, call in enumerate(calls) if "61\\x63\\x6b\\x6e\\x6f\\x77" in call.arguments)  # "acknow"
    assert any("lost" in problem for problem in _problems(calls, at, root, tmp_path / "deaf", Deaf))
    assert _problems(calls, at, root, tmp_path / "whole", power.Disk) == []


def test_a_rename_that_a_power_cut_takes_back_is_made_again_at_the_start(recorded, tmp_path):
    root, calls = recorded
    at = next(index for index, call in enumerate(calls) if "61\\x63\\x6b\\x6e\\x6f\\x77" in call.arguments)
    disk = power.Disk(root)
    for call in calls[: at + 1]:
        disk.play(call)
    disk.cut(tmp_path / "cut", None)
    folders = StateFolders(tmp_path / "cut")
    (uid,) = [line.split()[1] for line in disk.told]
    (kept,) = [file for file in folders.incoming.iterdir() if file.stat().st_size]
    content = kept.read_bytes()
    assert not list(folders.instances.rglob("*.dcm")), "told the peer, and on the disk under another name"
    ledger = open_ledger(folders.ledger)
    assert bring_home(ledger, folders) == 1
    ledger.close()
    (row,) = Overview(folders.ledger).instances()
    assert row["sop_instance_uid"] == uid
    (file,) = folders.instances.rglob("*.dcm")
    assert file.read_bytes() == content
    assert not list(folders.incoming.iterdir())


def _problems(calls, at, root, target, disk):
    try:
        return problems_after_cut(calls, at, root, target, None, disk)
    except Exception as error:  # noqa: BLE001 - a state folder that cannot even be opened is lost as well
        return [f"lost: {error}"]
