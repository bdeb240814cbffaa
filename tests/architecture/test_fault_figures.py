"""The tables of docs/faults.md that a run renews: a line for every figure, and what was not run stays."""

from __future__ import annotations

import re

import pytest

from tests.benchmarks.survive_page import BEGIN, renewed
from tests.benchmarks.survive_table import Row
from tests.support.fault_cases import PAGE


@pytest.fixture(scope="module")
def page():
    return PAGE.read_text(encoding="utf-8")


def test_every_figure_has_a_line_with_its_command(page):
    lines = re.findall(r"^\| ([\d, ]+) \| .*? \| `[^`]+` \| .* \|$", page.partition(BEGIN)[0], flags=re.MULTILINE)
    numbers = [int(number) for line in lines for number in line.split(",")]
    assert numbers == [*range(1, 18), 19, 20, 21, 22, 26]


def test_a_run_renews_its_own_rows_and_figures_and_no_others(page):
    row = Row("C4", "request of 4 GiB", "little", held=False, seen={"dicom-node": "seen now"})
    before, after = page.splitlines(), renewed(page, [row]).splitlines()
    changed = [new for old, new in zip(before, after, strict=True) if old != new and not new.startswith("Renewed")]
    figure, case = changed
    assert re.match(r"\| 5 \| .* \| seen now \|$", figure)
    assert re.match(r"\| request of 4 GiB \| C4 \| little \| seen now \| not cut at .* \| not held \|$", case)
