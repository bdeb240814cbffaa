"""The figures as tables."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from tests.benchmarks.figures import Figures, Spread

_MOST_PROBLEMS = 20


def print_figures(figures: Figures, console: Console) -> None:
    """Print what a run found."""
    wrong = len(figures.problems)
    console.print(f"[bold]{figures.bench}[/bold]: {figures.studies} studies, {figures.images} images, {figures.source}")
    console.print(f"  right results in the right study: [bold]{figures.correct} of {figures.studies}[/bold]")
    console.print(f"  outcomes: {_counts(figures.outcomes)}; versions published: {figures.versions}")
    if figures.kills:
        console.print(f"  killed with SIGKILL: {_counts(figures.kills)}")
        console.print(f"  forwards that failed and were sent again by the PACS: {figures.resubmitted}")
    rate = f"{figures.received_per_s:.1f} instances/s, {figures.received_mb_per_s:.1f} MB/s"
    console.print(f"  received: {rate}, all answered after {figures.flood_s:.1f} s")
    _print_times(figures, console)
    console.print(_processes(figures))
    console.print(f"  other work on this machine meanwhile: {figures.foreign_share:.0%} of its cores")
    console.print(f"  {wrong} problems" if wrong else "  nothing lost, nothing doubled, nothing wrong")
    for problem in figures.problems[:_MOST_PROBLEMS]:
        console.print(f"    {problem}", style="red")
    console.print(f"  whole run: {figures.wall_s:.0f} s")


def _print_times(figures: Figures, console: Console) -> None:
    table = Table("last image to report in the PACS, quiet period left out", "n", "median", "p95", "largest")
    rows = (("under load", figures.under_load_s, " s"), ("a study alone", figures.alone_s, " s"))
    for name, spread, unit in (*rows, ("engine an image", figures.engine_ms, " ms")):
        if spread is not None:
            table.add_row(name, *_cells(spread, unit))
    console.print(table)


def _cells(spread: Spread, unit: str) -> list[str]:
    figures = (spread.median, spread.p95, spread.largest)
    return [str(spread.samples), *(f"{value:.2f}{unit}" if unit == " s" else f"{value:.0f}{unit}" for value in figures)]


def _processes(figures: Figures) -> Table:
    table = Table("process", "CPU s", "peak RSS MB", "started")
    for role, used in figures.processes.items():
        table.add_row(role, f"{used['cpu_s']:.1f}", f"{used['peak_mb']:.0f}", f"{used['pids']:.0f}")
    return table


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"
