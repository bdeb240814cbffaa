"""Hostile peers in numbers too large for a test run, against the node and beside it other receivers.

Each case has a receiver of its own, started afresh. What is expected is the node's promise: the exit status is about
the node alone, and of the others only what was seen is said. `--only` takes the numbers of cases: C1, C23, …
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from tests.benchmarks import (
    bombs,
    survive_full,
    survive_load,
    survive_network,
    survive_objects,
    survive_outage,
    survive_own,
)
from tests.benchmarks.survive_page import renewed
from tests.benchmarks.survive_receivers import RECEIVERS, DoesNotStartError, Receiver, Tls, is_installed
from tests.benchmarks.survive_table import QUICK, Case, Row, Scale, Sight, as_json, as_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_NODE = "dicom-node"
_NUMBERS = count(1)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's options."""
    parser.add_argument(
        "--receivers", default=",".join(RECEIVERS), help="which of them, with commas between (default %(default)s)"
    )
    parser.add_argument("--quick", action="store_true", help="smaller numbers: some minutes instead of half an hour")
    parser.add_argument("--only", nargs="+", metavar="CASE", help="these cases alone")
    parser.add_argument(
        "--output",
        type=Path,
        nargs="+",
        default=[],
        help="docs/faults.md, whose tables are renewed, or files for JSON",
    )


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Run the cases and print the table; 0 where the node held every promise, 2 where a receiver is not known."""
    receivers = [name.strip() for name in arguments.receivers.split(",")]
    unknown = [name for name in receivers if name not in RECEIVERS]
    if unknown:
        console.print(f"no such receiver: {', '.join(unknown)}; there are {', '.join(RECEIVERS)}")
        return 2
    missing = [name for name in receivers if not is_installed(name)]
    if missing:
        console.print(f"left out, not installed: {', '.join(missing)}")
    receivers = [name for name in receivers if name not in missing]
    scale, began, rows = QUICK if arguments.quick else Scale(), time.time(), []
    folder = Path(tempfile.mkdtemp(prefix="dicom-node-survive-"))
    try:
        for row in _rows(folder, receivers, scale, arguments.only):
            rows.append(row)
            _write(arguments.output, rows, began)  # each time: the rest may take an hour
            console.print(f"{row.case} {row.what}: " + " | ".join(f"{k}: {v}" for k, v in row.seen.items()))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    console.print(as_table(rows, receivers))
    return 0 if all(row.held for row in rows) else 1


def _write(paths: Sequence[Path], rows: Sequence[Row], began: float) -> None:
    for path in paths:
        is_page = path.suffix == ".md"
        text = renewed(path.read_text("utf-8"), rows) if is_page else json.dumps(as_json(rows, began), indent=1)
        path.write_text(text, encoding="utf-8")


def _rows(folder: Path, receivers: Sequence[str], scale: Scale, only: Sequence[str] | None) -> Iterator[Row]:
    tls = Tls.made(folder / "certificates") if shutil.which("openssl") else None
    cases = (*survive_network.cases(tls), *survive_load.CASES, *survive_objects.CASES)
    for case in cases:
        if only is None or case.case in only:
            yield _row(folder, receivers, scale, case, tls)
    if _NODE in receivers:
        yield from _of_the_node_alone(folder, scale, only)


def _row(folder: Path, receivers: Sequence[str], scale: Scale, case: Case, tls: Tls | None) -> Row:
    row = Row(case.case, case.what, case.expected)
    for name in receivers:
        receiver = Receiver(name, folder / f"receiver-{next(_NUMBERS)}", tls if case.secure else None)
        try:
            with receiver:
                sight = case.see(receiver, scale)
        except DoesNotStartError as error:
            sight = Sight(str(error), held=False)
        row.seen[name] = sight.text
        if name == _NODE:
            row.held = sight.held
    return row


def _of_the_node_alone(folder: Path, scale: Scale, only: Sequence[str] | None) -> Iterator[Row]:
    """Yield what has no counterpart: its reader and decoder, its queue, its watermarks."""
    own = {
        "C23-C28": bombs.rows,
        "C30": survive_own.decoder_rows,
        "C39": survive_full.rows,
        "C42": survive_outage.rows,
        "C53": survive_own.trail_rows,
    }
    for case, rows in own.items():
        if only is None or case in only:
            for what, expected, sight in rows(folder, scale):
                yield Row(case, what, expected, sight.held, {_NODE: sight.text})
