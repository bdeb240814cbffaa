"""`scripts/bench performance`: every performance figure there is, one benchmark after the other, kept, drawn and told.

Each benchmark is a run of its own in a process of its own; its JSON is kept in a folder, its picture drawn beside it,
and docs/performance.md is made from what is in the folder. With --from the page is made from a folder kept earlier.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from tests.benchmarks.performance_page import Decision, page
from tests.benchmarks.performance_plots import draw
from tests.benchmarks.performance_shapes import read
from tests.benchmarks.record import this_machine
from tests.benchmarks.tree import Tree

_REPOSITORY = Path(__file__).resolve().parents[2]
#: What a quick run gives the benchmarks that know no quick run themselves.
_FEWER = {"--rounds": ("2",), "--studies": ("3",), "--instances": ("8", "40")}
#: In the order of a study's walk; those that this checkout does not have are left out.
_BENCHES = ("ingest", "answer", "throughput", "report", "send", "ledger", "ledger-postgresql", "start")
#: Where a decision's text does not name the benchmark that it rests on.
_DECISIONS = {
    "ingest": ("durable-before-success", "bounded-header-scan", "own-receive-path", "one-flush"),
    "answer": ("composed-ahead", "encoder", "pages-in-jpeg-ls"),
    "throughput": ("no-batches", "closed-form-maps", "one-image-ahead"),
    "report": ("highdicom-behind-report", "pages-in-jpeg-ls"),
    "ledger": ("flat-after-outages", "space-and-purge"),
    "ledger-postgresql": ("ledger-on-postgresql",),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's options."""
    parser.add_argument("--output", type=Path, default=Path("build/performance"), help="folder to keep JSON and PNG in")
    parser.add_argument("--from", dest="kept", type=Path, help="measure nothing: make the page from this folder")
    parser.add_argument("--quick", action="store_true", help="few rounds: that all of it runs, no figures to quote")
    parser.add_argument("--only", nargs="+", choices=_BENCHES, default=_BENCHES, help="measure these (default: all)")
    parser.add_argument("--limit-s", type=float, default=600.0, help="end a benchmark that takes longer (default 600)")
    parser.add_argument("--docs", type=Path, default=_REPOSITORY / "docs", help="where the page goes (default: docs)")


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Measure, keep, draw and write the page; 1: a benchmark did not run through."""
    folder = arguments.kept or arguments.output
    failed = {} if arguments.kept else _measure_all(arguments, console)
    paths = {name: folder / f"{name}.json" for name in _BENCHES if name not in failed}
    records = [read(path) for path in paths.values() if path.exists()]
    (arguments.docs / "images").mkdir(parents=True, exist_ok=True)
    pictures = {}
    for record in records:
        name = f"performance-{record.bench}.png"
        if draw(record, folder / name):
            pictures[record.bench] = f"images/{name}"
            shutil.copyfile(folder / name, arguments.docs / "images" / name)
    path = arguments.docs / "performance.md"
    path.write_text(page(records, failed, pictures, _decisions(_REPOSITORY / "docs" / "adr")), encoding="utf-8")
    console.print(f"{len(records)} records in {folder}; {path}")
    return 1 if failed else 0


def _measure_all(arguments: argparse.Namespace, console: Console) -> dict[str, str]:
    """Run the benchmarks that this checkout has; returns why by the name of each that did not run through."""
    arguments.output.mkdir(parents=True, exist_ok=True)
    failed = {}
    for name in arguments.only:
        options = _options(name)
        if options is None:
            continue
        begun = time.monotonic()
        why = _measure(name, options, arguments)
        console.print(f"{name}: {why or 'measured'}, {time.monotonic() - begun:.0f} s")
        if why:
            failed[name] = why
    return failed


def _options(name: str) -> str | None:
    """Return what a benchmark says of its options; None where there is none of that name, or it keeps no record."""
    asked = subprocess.run([*_bench(), name, "--help"], capture_output=True, text=True, check=False, cwd=_REPOSITORY)
    return asked.stdout if asked.returncode == 0 and "--output" in asked.stdout else None


def _measure(name: str, options: str, arguments: argparse.Namespace) -> str | None:
    """Run one benchmark and keep its record; returns why there is none. A goal that was missed is no failure."""
    output, log = _raw(arguments.output, name), arguments.output / f"{name}.log"
    output.unlink(missing_ok=True)
    line = [*_bench(), "--seed", str(arguments.seed), name, "--output", str(output), *_quick(options, arguments)]
    machine = this_machine()
    with log.open("wb") as stream:
        process = subprocess.Popen(line, stdout=stream, stderr=subprocess.STDOUT, cwd=_REPOSITORY)
        with Tree(process.pid) as tree:
            try:
                status = process.wait(arguments.limit_s)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGINT)  # it ends what it started
                process.wait(60)
                return f"ended after {arguments.limit_s:.0f} s"
    if not output.exists():
        last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return f"exit status {status}: {last[-1] if last else 'it said nothing'}"
    return _keep(name, arguments.output, machine, tree.used())


def _raw(folder: Path, name: str) -> Path:
    """Return where a benchmark's own JSON is kept; beside its folder lies the record made of it."""
    (folder / "raw").mkdir(exist_ok=True)
    return folder / "raw" / f"{name}.json"


def _keep(name: str, folder: Path, machine: Mapping[str, Any], used: Mapping[str, Mapping[str, float]]) -> str | None:
    """Keep the record of what a benchmark wrote, with machine and processes; returns why there is none."""
    try:
        record = read(_raw(folder, name))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return f"its JSON has a shape that is not known ({type(error).__name__}: {error})"
    whole = replace(record, machine={**machine, **record.machine}, processes=record.processes or used)
    whole.write(folder / f"{name}.json")
    return None


def _bench() -> list[str]:
    return [sys.executable, "-m", "tests.benchmarks"]


def _quick(options: str, arguments: argparse.Namespace) -> list[str]:
    if not arguments.quick:
        return []
    if "--quick" in options:
        return ["--quick"]
    return [word for option, values in _FEWER.items() if option in options for word in (option, *values)]


def _decisions(folder: Path) -> dict[str, list[Decision]]:
    """Return, by benchmark, the decisions that rest on it: those listed above, and those whose text names it."""
    found: dict[str, list[Decision]] = {}
    for path in sorted(folder.glob("[0-9]*.md")):
        text = path.read_text(encoding="utf-8")
        title = text.partition("\n")[0].lstrip("# ").strip()
        for name in _BENCHES:
            listed = path.stem.partition("-")[2] in _DECISIONS.get(name, ())
            if listed or f"scripts/bench {name}`" in text or f"scripts/bench {name} " in text:
                found.setdefault(name, []).append(Decision(title, f"adr/{path.name}"))
    return found
