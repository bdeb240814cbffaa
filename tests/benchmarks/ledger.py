"""What the steps of the ledger cost after a thousand, a hundred thousand and a million studies.

Every ledger is filled in bulk with studies of two views, published, delivered and committed, and the steps are taken
in turn on all of them, round by round, each by itself in a transaction that is on disk when it returns. A step is flat
where its median on the largest ledger stays within twice that on the smallest. A second set of ledgers holds images
that wait for the worker and as many results that wait for the PACS: closing, taking a batch to deliver and the status
look at all that waits, so that these three grow with it, and nothing else may.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from dicom_node.core.study import Quiet
from dicom_node.ledger import audit, instances, jobs, outbox, purging, results, storage, studies
from dicom_node.ledger.database import Database, open_ledger
from dicom_node.ledger.overview import Overview
from dicom_node.ledger.standing import standing
from tests.benchmarks.record import AT_MOST, Curve, Figure, Peer, Record, this_machine
from tests.support.bulk import fill, fill_server
from tests.support.postgres import PostgresServer
from tests.unit.ledger.arrivals import an_arrival

_QUIET = Quiet(0.0, 0.0)
_NOW = 1e9
_PURGED_BEFORE = 500_000.0
#: A step on the largest ledger may take so many times what it takes on the smallest.
_FLAT = 2.0
#: What looks at all that waits: its batch goes by urgency, and its counts are counts.
_BY_WHAT_WAITS = frozenset({"close", "deliver", "status"})
_STUDIES, _WAITING = "studies in the ledger", "studies that wait"


@dataclass(frozen=True)
class Filled:
    """An open ledger, how many studies it was filled with, and the lease that a step took for the next."""

    ledger: Database
    overview: Overview
    studies: int
    held: list[jobs.Lease]


def add_arguments(parser: ArgumentParser) -> None:
    """Add the sizes."""
    parser.add_argument("--studies", type=int, nargs="+", default=[1_000, 100_000, 1_000_000], help="studies, by size")
    parser.add_argument("--waiting", type=int, nargs="+", default=[100, 10_000], help="studies that wait, by size")
    parser.add_argument("--rounds", type=int, default=60, help="times each step is taken (default %(default)s)")
    parser.add_argument("--quick", action="store_true", help="small ledgers and few rounds: that it runs, no figures")
    parser.add_argument("--output", "--json", type=Path, help="write the record to this file")


def run(arguments: Namespace, console: Console) -> int:
    """Measure and print: milliseconds, the median of the rounds, by step and size; 1: a step is not flat."""
    return measure(arguments, console, None)


def measure(arguments: Namespace, console: Console, server: PostgresServer | None) -> int:
    """Do the same, in files or on a server."""
    sizes, waiting, rounds = arguments.studies, arguments.waiting, arguments.rounds
    if arguments.quick:
        sizes, waiting, rounds = [1_000, 20_000], [100, 1_000], 20
    folder = Path(tempfile.mkdtemp(prefix="dicom-node-ledger-"))
    machine = this_machine(folder)
    try:
        grown = _measure((folder, server), [(size, 0) for size in sizes], rounds)
        queued = _measure((folder, server), [(1_000, size) for size in waiting], rounds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    curves = {_STUDIES: _curve(sizes, grown, _STUDIES), _WAITING: _curve(waiting, queued, _WAITING)}
    figures = [*_figures(grown, sizes, _STUDIES), *_figures(queued, waiting, _WAITING)]
    name = "ledger" if server is None else "ledger-postgresql"
    record = Record(name, machine, arguments.seed, rounds, figures, curves, method=__doc__ or "")
    for curve in curves.values():
        _print(curve, console)
    if arguments.output:
        record.write(arguments.output)
    return 1 if any(figure.reached is False for figure in figures) else 0


def _measure(
    where: tuple[Path, PostgresServer | None], sizes: Sequence[tuple[int, int]], rounds: int
) -> list[dict[str, list[float]]]:
    """Return the milliseconds of every step by size; the sizes take turns, so that all see the same machine."""
    folder, server = where
    filled = [_filled(folder / f"{studies_}-{waiting}", server, studies_, waiting) for studies_, waiting in sizes]
    found: list[dict[str, list[float]]] = [defaultdict(list) for _ in sizes]
    try:
        for number in range(rounds):
            for one, times in zip(filled, found, strict=True):
                for name, step in STEPS.items():
                    begun = time.perf_counter()
                    step(one, number)
                    times[name].append((time.perf_counter() - begun) * 1e3)
    finally:
        for one in filled:
            one.ledger.close()
        for child in folder.iterdir():
            shutil.rmtree(child)
    return [dict(times) for times in found]


def _filled(folder: Path, server: PostgresServer | None, studies_: int, waiting: int) -> Filled:
    """Make and open a ledger; the one place that says where it lies and who keeps it."""
    folder.mkdir()
    place = folder / "ledger.sqlite" if server is None else server.place(folder)
    if isinstance(place, Path):
        fill(place, studies_, unanalysed=waiting, undelivered=waiting)
    else:
        fill_server(place, studies_, unanalysed=waiting, undelivered=waiting)
    return Filled(open_ledger(place), Overview(place), studies_, [])


def _receive(one: Filled, number: int) -> None:
    with one.ledger.transaction() as connection:
        arrival = an_arrival(f"1.9.{number}", study=f"1.9.{number}")
        instances.record(connection, arrival, _QUIET, "bundle", _NOW)


def _close(one: Filled, _number: int) -> None:
    with one.ledger.transaction() as connection:
        studies.close_due(connection, "bundle", _NOW)
        studies.promote_waiting(connection, _NOW)


def _claim(one: Filled, _number: int) -> None:
    with one.ledger.transaction() as connection:
        lease = jobs.lease(connection, _NOW, 60.0)
        jobs.next_due(connection)
    one.held[:] = [] if lease is None else [lease]


def _answer(one: Filled, _number: int) -> None:
    with one.ledger.transaction() as connection:
        for lease in one.held:
            jobs.complete(connection, lease)
            if lease.instance_id is not None:
                found = results.Analysed(lease.instance_id, "bundle", "{}", None, None)
                results.save_analysis(connection, found, _NOW)
            elif lease.version_id is not None:
                published = results.Published("negative", 0.1, None, None, "bundle", "results/x", "digest", ())
                results.publish(connection, lease.version_id, published, ("pacs",), _NOW)


def _deliver(one: Filled, _number: int) -> None:
    with one.ledger.transaction() as connection:
        for due in outbox.take_due(connection, "pacs", _NOW):
            outbox.succeed(connection, due, (), _NOW)
        outbox.next_due(connection, "pacs")


def _purge(one: Filled, number: int) -> None:
    with one.ledger.transaction() as connection:
        for study_id in purging.due(connection, number * 7 % one.studies, lambda at: at < _PURGED_BEFORE, 200)[0][:1]:
            purging.note_purged(connection, purging.holdings(connection, study_id), _NOW, "bench")


def _status(one: Filled, _number: int) -> None:
    with one.ledger.transaction() as connection:
        standing(connection, ("pacs",))


def _scrub(one: Filled, number: int) -> None:
    with one.ledger.transaction() as connection:
        storage.next_kept(connection, number % one.studies)
        audit.last(connection, "node.started")


#: In their order they are a day's work: what one leaves the next takes up.
STEPS: Mapping[str, Callable[[Filled, int], object]] = {
    "receive an instance": _receive,
    "claim an image": _claim,
    "answer it": _answer,
    "close": _close,
    "claim the result": _claim,
    "publish": _answer,
    "deliver": _deliver,
    "status": _status,
    "purge a study": _purge,
    "look for the next to scrub": _scrub,
    "list 100 studies": lambda one, _number: one.overview.studies(100),
    "show a study": lambda one, number: one.overview.study(f"1.2.{number % one.studies + 1}"),
}


def _curve(sizes: Sequence[int], found: Sequence[Mapping[str, list[float]]], label: str) -> Curve:
    lines = {name: [statistics.median(times[name]) for times in found] for name in STEPS}
    return Curve(sizes, lines, label, "ms, median")


def _figures(found: Sequence[Mapping[str, list[float]]], sizes: Sequence[int], what: str) -> list[Figure]:
    """Return each step's time on the largest ledger beside that on the smallest."""
    figures = []
    for name in STEPS:
        goal = None if what == _WAITING and name in _BY_WHAT_WAITS else _FLAT
        small = Peer.of(f"with {sizes[0]:,}", found[0][name], goal)
        figures.append(Figure.of(f"{name}, {sizes[-1]:,} {what}", "ms", found[-1][name], (AT_MOST, None), small))
    return figures


def _print(curve: Curve, console: Console) -> None:
    table = Table(title=f"Median of a step, ms, by {curve.x_label}", title_justify="left")
    table.add_column("step")
    for size in curve.x:
        table.add_column(f"{size:,}", justify="right")
    table.add_column("largest / smallest", justify="right")
    for step, values in curve.lines.items():
        table.add_row(step, *(f"{value:.2f}" for value in values), f"{values[-1] / values[0]:.1f}x")
    console.print(table)
