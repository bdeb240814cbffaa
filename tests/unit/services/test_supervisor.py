"""The supervisor: a page is a guest, whatever becomes of it; a program that hangs is killed and started again."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from dicom_node.services import notify, process
from dicom_node.services.signs import Signs
from dicom_node.services.supervisor import PAGE, Supervisor


class Ended:
    def __init__(self, status: int | None) -> None:
        self.status = status

    def poll(self) -> int | None:
        return self.status


def supervised(program: str, status: int) -> tuple[Supervisor, int | None]:
    """Return a supervisor whose program has ended with a status, and what it makes of that."""
    supervisor = Supervisor(Path("node.toml"), ("node", "worker", PAGE))
    child = next(one for one in supervisor._children if one.program == program)
    child.popen = Ended(status)  # type: ignore[assignment]
    return supervisor, supervisor._look_after(child)


@pytest.mark.parametrize("status", [process.EXIT_OK, process.EXIT_SETTINGS, process.EXIT_LEDGER])
def test_a_page_that_gives_up_is_let_go_and_ends_nothing_else(status):
    supervisor, verdict = supervised(PAGE, status)
    assert verdict is None
    assert [one.program for one in supervisor._children] == ["node", "worker"]


def test_a_page_that_fails_is_started_again():
    supervisor, verdict = supervised(PAGE, process.EXIT_FAILED)
    assert verdict is None
    assert [one.program for one in supervisor._children] == ["node", "worker", PAGE]


def test_a_node_whose_ledger_needs_a_person_ends_all():
    assert supervised("node", process.EXIT_LEDGER)[1] == process.EXIT_LEDGER


def test_c48_a_program_that_was_heard_and_falls_silent_is_killed_and_started_again():
    supervisor = Supervisor(Path("node.toml"), ("worker",))
    (child,) = supervisor._children
    child.signs = Signs(within_s=0.4)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as child.popen:
        for _ in range(8):  # it loads its model: nothing is expected of it
            assert supervisor._look_after(child) is None
            time.sleep(0.1)
        assert child.popen.poll() is None
        notify.notifier(child.signs.environment()).ready("it says so once, and hangs")
        while child.popen.poll() is None:
            assert supervisor._look_after(child) is None
            time.sleep(0.05)
        assert child.popen.returncode == -9
        supervisor._look_after(child)
    assert child.popen is None
    assert child.restart_at > 0


def test_c48_signs_of_life_keep_it_running_and_a_time_in_which_nobody_looked_does_not_count():
    signs = Signs(within_s=20.0)
    program = notify.notifier(signs.environment())
    assert program.every_s == 5.0
    program.ready("up")
    assert [signs.are_missing(now) for now in (0.0, 9.0, 18.0)] == [False, False, False]
    program.alive()
    assert [signs.are_missing(now) for now in (27.0, 36.0, 45.0)] == [False, False, False]
    assert not signs.are_missing(500.0)  # the supervisor was stopped too
    assert [signs.are_missing(now) for now in (510.0, 520.0, 520.1)] == [False, False, True]
    signs.begin()
    assert not signs.are_missing(521.0)
