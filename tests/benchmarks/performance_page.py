"""docs/performance.md from the kept records: what was measured, on what, beside whom, and which goals are reached."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.benchmarks.record import Figure, Record

_QUIET_LOAD = 0.3  # of a core, for each core: above it other programs had a hand in the figures
_FEW_ROUNDS = 5
_TITLES = {
    "ingest": "Receiving",
    "answer": "From the close of a study to its result",
    "throughput": "Studies an hour",
    "report": "Composing a result",
    "send": "Sending",
    "ledger": "The ledger as it grows",
    "ledger-postgresql": "The ledger on PostgreSQL as it grows",
    "start": "Start",
}
_SPENT = {"start": "CPU s, median"}


@dataclass(frozen=True)
class Decision:
    """A decision record that rests on a benchmark: its title, and its path from docs/."""

    title: str
    path: str


def page(
    records: Sequence[Record],
    failed: Mapping[str, str],
    pictures: Mapping[str, str],
    decisions: Mapping[str, Sequence[Decision]],
) -> str:
    """Return the page as Markdown.

    failed: why, by the benchmarks that did not run through; pictures: paths from docs/, by benchmark; decisions: what
    was decided on a benchmark's figures.
    """
    parts = [_HEAD, *_summary(records, failed)]
    for record in records:
        parts += _section(record, pictures.get(record.bench), decisions.get(record.bench, ()))
    return "\n\n".join(parts) + "\n"


_HEAD = """# Performance

Made by `scripts/bench performance`; nothing here is written by hand. Every benchmark runs by itself, one after the
other; in each the node and its peers take turns, round by round, on the same machine and the same files. A figure is
the median of the rounds, in brackets the lowest and the highest. **Compare within one table only**: tables are runs of
their own, and another machine, disk or day gives other figures. Each table says on what it was measured, and how busy
that was before."""


def _summary(records: Sequence[Record], failed: Mapping[str, str]) -> list[str]:
    judged = [(record, figure) for record in records for figure in record.figures if figure.reached is not None]
    missed = [(record, figure) for record, figure in judged if not figure.reached]
    parts = [
        f"**{len(judged) - len(missed)} of {len(judged)} goals are reached.**" if judged else "No goal was judged."
    ]
    if missed:
        lines = [
            f"| {_title(record.bench)} | {figure.name} | {_value(figure)} | {_goal(figure)} |"
            for record, figure in missed
        ]
        parts += [
            "Not reached:",
            "\n".join(["| where | figure | measured | goal |", "| --- | --- | --- | --- |", *lines]),
        ]
    if failed:
        parts.append("\n".join(f"- Not measured: {name}: {why}" for name, why in failed.items()))
    return parts


def _title(bench: str) -> str:
    return _TITLES.get(bench, bench.capitalize())


def _section(record: Record, picture: str | None, decisions: Sequence[Decision]) -> list[str]:
    parts = [
        f"## {_title(record.bench)}",
        _method(record.method),
        f"`scripts/bench {record.bench}`. {_on_what(record)}",
    ]
    if picture:
        parts.append(f"![{_title(record.bench)}, the figures below as a picture]({picture})")
    parts.append(_table(record.figures))
    if record.processes:
        parts.append(_processes(record))
    parts += [f"- {problem}" for problem in record.problems]
    if decisions:
        links = ", ".join(f"[{decision.title}]({decision.path})" for decision in decisions)
        parts.append(f"Profiled, and what came of it: {links}.")
    return [part for part in parts if part]


def _method(text: str) -> str:
    """Return a module's docstring as a paragraph: its lines joined, without the command that it begins with."""
    words = " ".join(text.split())
    return re.sub(r"^`scripts/bench [a-z-]+`: (.)", lambda match: match[1].upper(), words)


def _on_what(record: Record) -> str:
    machine = record.machine
    known = [
        str(machine[name]) + unit
        for name, unit in (("cpu", ""), ("cores", " cores"), ("memory_gb", " GB"), ("filesystem", ""), ("at", ""))
        if machine.get(name) is not None
    ]
    kernel = f"Linux {machine['kernel']}, Python {machine['python']}" if "kernel" in machine else ""
    said = [", ".join([*known, *([kernel] if kernel else [])]) or "The machine was not noted"]
    said.append(f"{record.rounds} rounds, seed {record.seed}" if record.rounds else f"seed {record.seed}")
    load, cores = machine.get("load"), machine.get("cores") or 1
    if load is not None:
        said.append(f"load before it {load}")
    text = "; ".join(said) + "."
    if load is not None and float(load) > _QUIET_LOAD * float(cores):
        text += " **Other programs were at work**: read ratios and CPU, not times."
    if 0 < record.rounds < _FEW_ROUNDS:
        text += " **A quick run**: that it works, not figures to quote."
    return text


def _table(figures: Sequence[Figure]) -> str:
    beside = any(figure.peer for figure in figures)
    head = ["figure", "median (lowest to highest)", "goal", "reached", *(["beside it", "is"] if beside else [])]
    lines = [_row(head), _row(["---"] * len(head))]
    for figure in figures:
        cells = [figure.name, _value(figure), _goal(figure), {True: "yes", False: "**no**", None: ""}[figure.reached]]
        if beside:
            cells += _beside(figure)
        lines.append(_row(cells))
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _value(figure: Figure) -> str:
    spread = f" ({number(figure.low)} to {number(figure.high)})" if figure.n > 1 else ""
    return f"{number(figure.value)} {figure.unit}{spread}"


def _goal(figure: Figure) -> str:
    bounds = [f"{number(figure.goal)} {figure.unit}"] if figure.goal is not None else []
    if figure.peer is not None and figure.peer.goal is not None:
        bounds.append(f"{number(figure.peer.goal)} x {figure.peer.name}")
    return f"{figure.goal_is} {' and '.join(bounds)}" if bounds else ""


def _beside(figure: Figure) -> list[str]:
    peer = figure.peer
    if peer is None:
        return ["", ""]
    is_ = f"{number(figure.value / peer.value)} x" if peer.value else ""
    return [f"{peer.name}: {number(peer.value)} {figure.unit}", is_]


def _processes(record: Record) -> str:
    lines = [_row(["process", _SPENT.get(record.bench, "CPU s in all"), "peak memory, MB"]), _row(["---"] * 3)]
    for name, used in record.processes.items():
        cells = (number(used[key]) if key in used else "" for key in ("cpu_s", "peak_mb"))
        lines.append(_row([name, *cells]))
    return "\n".join(lines)


def number(value: float) -> str:
    """Return a figure to three digits, which is more than any run is good for."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
