"""SIGKILL, a full disk and a broken one at chosen system calls: nothing acknowledged is lost, nothing is doubled."""

from __future__ import annotations

import pytest

from tests.integration.conftest import require
from tests.support import syscalls, walk
from tests.support.survival import failures, kills, some_of_each

pytestmark = pytest.mark.timeout(300)
OF_EACH = 3  # of each kind of call, of some 600 points; `scripts/bench crashes` takes them all


@pytest.fixture(scope="module")
def counts(tmp_path_factory):
    require(syscalls.is_installed(), "strace")
    folder = tmp_path_factory.mktemp("recorded")
    run = syscalls.walk_recorded(folder / "state", folder / "record")
    assert (run.code, len(run.told)) == (0, 6), "an undisturbed walk receives four instances and delivers two results"
    assert walk.problems(folder / "state", run.told) == []
    return syscalls.count_calls(folder / "record")


def test_c37_a_kill_at_any_point_loses_and_doubles_nothing(counts, tmp_path):
    points = some_of_each(kills(counts), OF_EACH)
    assert len(points) >= 20
    for number, point in enumerate(points):
        run = syscalls.walk_killed_at(tmp_path / str(number), point.call, point.number)
        assert run.code == -9, point
        assert walk.problems(tmp_path / str(number), run.told) == [], point


def test_c39_c40_a_disk_that_fails_once_at_any_point_is_survived_without_a_restart(counts, tmp_path):
    for number, point in enumerate(some_of_each(failures(counts), 1)):
        run = syscalls.walk_failing_at(tmp_path / str(number), point.call, point.number, point.error)
        assert run.code == 0 or not run.told, (point, "only a start that fails is left to whoever starts it again")
        assert walk.problems(tmp_path / str(number), run.told) == [], point
