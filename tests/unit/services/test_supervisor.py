"""The page is a guest of the node: whatever becomes of it, node and worker go on."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicom_node.services import process
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
