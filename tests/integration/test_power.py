"""A power cut at any system call: what was acknowledged is on the disk, and what was torn is found."""

from __future__ import annotations

import random

import pytest

from tests.integration.conftest import require
from tests.support import power, syscalls
from tests.support.survival import cut_points, problems_after_cut, spread

pytestmark = pytest.mark.timeout(180)
SHORT = 16  # of some 1,800; `scripts/bench crashes` takes 200, strict and lenient


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
            pass

    root, calls = recorded
    at = max(index for index, call in enumerate(calls) if "61\\x63\\x6b\\x6e\\x6f\\x77" in call.arguments)  # "acknow"
    assert any("lost" in problem for problem in _problems(calls, at, root, tmp_path / "deaf", Deaf))
    assert _problems(calls, at, root, tmp_path / "whole", power.Disk) == []


def _problems(calls, at, root, target, disk):
    try:
        return problems_after_cut(calls, at, root, target, None, disk)
    except Exception as error:  # noqa: BLE001 - a state folder that cannot even be opened is lost as well
        return [f"lost: {error}"]
