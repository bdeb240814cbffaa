"""The lab's two costs in one table: embedding images, and fitting the linear head on wide embeddings."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from tests.benchmarks import lab_embed, lab_head
from tests.benchmarks.lab_embed import Rate
from tests.benchmarks.lab_head import NAIVE, OURS, Fit


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Measure and print; 0 where both ways of fitting gave the same scores, 1 where not."""
    with tempfile.TemporaryDirectory(prefix="dicom-node-bench-") as name:
        folder = Path(name)
        console.print("embedding")
        data, source = lab_embed.material(folder, arguments.images)
        rates = lab_embed.run(folder, data, arguments.bundle, arguments.images, arguments.readers)
        console.print("drawing embeddings")
        lab_head.make(folder, max(arguments.rows, arguments.naive_rows), arguments.width, arguments.seed)
        ways = [(OURS, arguments.rows), (OURS, arguments.naive_rows), (NAIVE, arguments.naive_rows)]
        fits = []
        for way, rows in ways:
            console.print(f"{way}: {rows} x {arguments.width}")
            fits.append(lab_head.measure(folder, way, rows))
    apart = _apart(fits[1], fits[2])
    answer = Console(width=max(Console().width, 118))
    answer.print(_table(rates, fits, source))
    answer.print(_bounded(rates))
    answer.print(f"both ways' scores differ by at most {apart:.1%} of the largest")
    answer.print(f"load average at the end: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    if arguments.output:
        figures = {"embed": [asdict(one) for one in rates], "head": [asdict(one) for one in fits], "apart": apart}
        arguments.output.write_text(json.dumps(figures, indent=1))
    return 0 if apart <= 0.02 else 1


def _apart(one: Fit, other: Fit) -> float:
    ours, theirs = np.array(one.z), np.array(other.z)
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def _bounded(rates: list[Rate]) -> str:
    """Say how much of the command's time, its start left out, the network alone accounts for."""
    start = next(one.seconds for one in rates if one.part == lab_embed.START)
    network = next(one.seconds for one in rates if one.part == lab_embed.NETWORK)
    shares = [f"{network / (one.seconds - start):.0%} ({one.threads})" for one in rates if one.part == lab_embed.WHOLE]
    return f"the network alone takes {', '.join(shares)} of the command's time without its start"


def _table(rates: list[Rate], fits: list[Fit], source: str) -> Table:
    """Return one table; a fit's private memory is also told in times the features' own size."""
    table = Table("what", "on", "seconds", "images/s", "private MB", "x features", "RSS MB")
    for one in rates:
        on = f"{one.images} {source}, {one.threads}"
        table.add_row(f"embed: {one.part}", on, f"{one.seconds:.1f}", f"{one.per_s:.1f}")
    for fit in fits:
        on = f"{fit.rows} x {fit.width} float32, {fit.table / 1e6:.0f} MB"
        memory = (f"{fit.peak_private / 1e6:.0f}", f"{(fit.peak_private - fit.before) / fit.table:.2f}")
        table.add_row(f"head: {fit.way}", on, f"{fit.seconds:.1f}", "", *memory, f"{fit.peak_rss / 1e6:.0f}")
    return table
