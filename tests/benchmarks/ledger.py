"""What the steps of the ledger cost after a thousand, a hundred thousand and a million studies."""

from __future__ import annotations

import json
import shutil
import statistics
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from dicom_node.core.study import Quiet
from dicom_node.ledger import audit, instances, jobs, outbox, purging, results, storage, studies
from dicom_node.ledger.database import Database, open_ledger
from dicom_node.ledger.overview import Overview
from tests.support.bulk import fill
from tests.unit.ledger.arrivals import an_arrival

_QUIET = Quiet(0.0, 0.0)
_NOW = 1e9


def add_arguments(parser: ArgumentParser) -> None:
    """Add the sizes."""
    parser.add_argument("--studies", type=int, nargs="+", default=[1_000, 100_000, 1_000_000], help="studies, by size")
    parser.add_argument("--rounds", type=int, default=200, help="times each step is taken (default %(default)s)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")


def run(arguments: Namespace, console: Console) -> int:
    """Measure and print: milliseconds, the median of the rounds, by step and size."""
    found: dict[int, dict[str, float]] = {}
    for studies_ in arguments.studies:
        folder = Path(tempfile.mkdtemp(prefix="dicom-node-ledger-"))
        try:
            found[studies_] = _measure(folder / "ledger.sqlite", studies_, arguments.rounds)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    table = Table(title="Median of a step, ms", title_justify="left")
    table.add_column("step")
    for size in found:
        table.add_column(f"{size:,} studies", justify="right")
    for step in next(iter(found.values())):
        table.add_row(step, *(f"{found[size][step]:.2f}" for size in found))
    console.print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1))
    return 0


def _measure(path: Path, count: int, rounds: int) -> dict[str, float]:
    fill(path, count)
    figures = {"file, MiB": path.stat().st_size / (1 << 20)}
    begun = time.perf_counter()
    ledger = open_ledger(path)
    figures["open the ledger"] = (time.perf_counter() - begun) * 1e3
    for name, step in _steps(ledger, path, count).items():
        times = []
        for number in range(rounds):
            begun = time.perf_counter()
            step(number)
            times.append(time.perf_counter() - begun)
        figures[name] = statistics.median(times) * 1e3
    ledger.close()
    return figures


def _steps(ledger: Database, path: Path, count: int) -> dict[str, Callable[[int], object]]:
    overview = Overview(path)

    def receive(number: int) -> None:
        with ledger.transaction() as connection:
            arrival = an_arrival(f"1.9.{number}", study=f"1.9.{number}")
            instances.record(connection, arrival, _QUIET, "bundle", _NOW)

    def close(_number: int) -> None:
        with ledger.transaction() as connection:
            studies.close_due(connection, "bundle", _NOW)
            studies.promote_waiting(connection, _NOW)

    def work(_number: int) -> None:
        with ledger.transaction() as connection:
            lease = jobs.lease(connection, _NOW, 60.0)
            if lease is None:
                return
            jobs.complete(connection, lease)
            if lease.instance_id is not None:
                results.save_analysis(connection, results.Analysed(lease.instance_id, "bundle", "{}", None, None), _NOW)
            elif lease.version_id is not None:
                found = results.Published("negative", 0.1, None, None, "bundle", "results/x", "digest", ())
                results.publish(connection, lease.version_id, found, ("pacs",), _NOW)

    def deliver(_number: int) -> None:
        with ledger.transaction() as connection:
            for due in outbox.take_due(connection, "pacs", _NOW):
                outbox.succeed(connection, due, (), _NOW)

    def look(number: int) -> None:
        with ledger.transaction() as connection:
            purging.due(connection, number, lambda at: at < 1.0, 200)
            storage.next_kept(connection, number % count)
            audit.last(connection, "node.started")

    return {
        "receive an instance (one fsync)": receive,
        "close 100 studies": close,
        "lease and answer a job (one fsync)": work,
        "publish after closing": close,
        "compose": work,
        "deliver (one fsync)": deliver,
        "look for what to purge and to scrub": look,
        "list the newest 100 studies": lambda _number: overview.studies(100),
        "show a study": lambda number: overview.study(f"1.2.{number % count + 1}"),
    }
