"""A short round of `scripts/bench fuzz`, and that it sees what it looks for."""

from __future__ import annotations

from random import Random

import pytest
from rich.console import Console

from tests.benchmarks import fuzz


@pytest.fixture(scope="module")
def targets():
    return {target.name: target for target in fuzz.targets()}


@pytest.mark.filterwarnings("ignore")  # of the broken files among the seeds
@pytest.mark.parametrize("name", ["data set", "association request", "command", "association"])
def test_c12_c22_changed_bytes_are_read_or_refused(targets, name):
    tally = fuzz.fuzz(targets[name], 300 if name == "association" else 2000, Random(f"12 {name}"))  # noqa: S311 - alike
    assert tally.finds == []
    assert tally.answers["read"] > 20
    assert tally.inputs == sum(tally.answers.values())


def test_an_input_that_raises_anything_else_is_a_find_and_is_kept(targets, tmp_path):
    def read(data: bytes, _: Random) -> None:
        if b"\xff" in data:
            raise KeyError(data[:1])

    tally = fuzz.fuzz(fuzz.Target("broken", read, (ValueError,), targets["command"].seeds), 500, Random(1))  # noqa: S311
    assert len(tally.finds) == tally.answers["FOUND"] > 5
    fuzz.keep(tally, tmp_path / "finds", Console(quiet=True))
    kept = [path.read_bytes() for path in (tmp_path / "finds").iterdir()]
    assert kept
    assert all(b"\xff" in data for data in kept)
