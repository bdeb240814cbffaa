"""The long campaign: kills, failing system calls and power cuts at every point of a walk; one table."""

from __future__ import annotations

import json
import logging
import random
import shutil
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import structlog
from rich.console import Console
from rich.table import Table

from tests.support import power, syscalls, walk
from tests.support.survival import cut_points, failures, kills, problems_after_cut, spread

_MOST_SHOWN = 10


@dataclass
class Row:
    """One line of the table: the case, what is promised, and what was seen."""

    case: str
    expected: str
    runs: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def seen(self) -> str:
        """What was seen, in words."""
        return f"{self.runs} runs, {len(self.problems)} with something lost, doubled or wrong"


def add_arguments(parser: ArgumentParser) -> None:
    """Add how long the campaign is."""
    parser.add_argument("--kills", type=int, default=1000, help="SIGKILLs (default %(default)s)")
    parser.add_argument("--failures", type=int, default=300, help="failing system calls (default %(default)s)")
    parser.add_argument("--cuts", type=int, default=200, help="power cuts (default %(default)s)")
    parser.add_argument("--output", "--json", type=Path, help="write the table to this file")


def run(arguments: Namespace, console: Console) -> int:
    """Run it and print the table; 0: nothing was lost or doubled, 1: something was, 2: it cannot run."""
    if not syscalls.is_installed():
        console.print("strace is not installed: apt-get install strace")
        return 2
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    folder = Path(tempfile.mkdtemp(prefix="dicom-node-survive-"))
    started = time.monotonic()
    try:
        syscalls.walk_recorded(folder / "state", folder / "record")
        rows = list(_campaign(folder, arguments))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    _print(rows, console)
    console.print(f"whole run: {time.monotonic() - started:.0f} s")
    if arguments.output:
        arguments.output.write_text(json.dumps([asdict(row) | {"seen": row.seen} for row in rows], indent=1))
    return 1 if any(row.problems for row in rows) else 0


def _campaign(folder: Path, arguments: Namespace) -> Iterator[Row]:
    counts, dice = syscalls.count_calls(folder / "record"), random.Random(arguments.seed)  # noqa: S311 - chances, not secrets
    promise = "0 acknowledged lost, 0 doubled results"
    everywhere = kills(counts)
    points = [point for _ in range(arguments.kills // len(everywhere)) for point in everywhere]
    points += spread(everywhere, arguments.kills - len(points))
    yield _row(
        f"C37 SIGKILL at {len(everywhere)} points",
        promise,
        [lambda state, p=p: _after(state, syscalls.walk_killed_at(state, p.call, p.number)) for p in points],  # type: ignore[misc]
        folder,
    )
    broken = spread(failures(counts), arguments.failures)
    yield _row(
        "C39 C40 ENOSPC and EIO at a system call",
        f"{promise}, no restart once begun",
        [
            lambda state, p=p: _undisturbed(state, syscalls.walk_failing_at(state, p.call, p.number, p.error))
            for p in broken
        ],  # type: ignore[misc]
        folder,
    )
    recorded = list(power.calls(folder / "record"))
    for name, seeds in (("strict: unsynced is gone", None), ("lenient: unsynced may survive, whole or torn", dice)):
        cuts = spread(cut_points(recorded), arguments.cuts // 2)
        yield _row(
            f"C38 power cut, {name}",
            "0 acknowledged lost, torn files set aside",
            [
                lambda state, at=at, seeds=seeds: problems_after_cut(  # type: ignore[misc]
                    recorded, at, folder / "state", state, seeds, power.Disk
                )
                for at in cuts
            ],
            folder,
        )


def _after(state: Path, run: syscalls.Run) -> list[str]:
    return walk.problems(state, run.told)


def _undisturbed(state: Path, run: syscalls.Run) -> list[str]:
    """Return the problems, a walk that had begun and could not go on among them."""
    ended = [f"ended with {run.code}"] if run.code and run.told else []
    return ended + _after(state, run)


def _row(case: str, expected: str, runs: list[Callable[[Path], list[str]]], folder: Path) -> Row:
    row = Row(case, expected)
    for number, one in enumerate(runs):
        state = folder / f"run-{number}"
        try:
            found = one(state)
        except Exception as error:  # noqa: BLE001 - a state folder that cannot be opened again is a finding
            found = [f"{type(error).__name__}: {error}"]
        row.runs += 1
        row.problems += [f"run {number}: {'; '.join(found)}"] if found else []
        shutil.rmtree(state, ignore_errors=True)
    return row


def _print(rows: list[Row], console: Console) -> None:
    table = Table("case", "expected", "seen", "")
    for row in rows:
        table.add_row(row.case, row.expected, row.seen, "[red]NOT HELD[/red]" if row.problems else "held")
    console.print(table)
    for row in rows:
        for problem in row.problems[:_MOST_SHOWN]:
            console.print(f"  {row.case}: {problem}", style="red")
