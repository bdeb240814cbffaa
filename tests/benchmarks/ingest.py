"""Receiving: the node beside Orthanc, DCMTK's storescp and a bare receiver, in one run, round after round, medians.

Workload A is 10 MB a DX image, B 0.5 MB a CR image, C and D a CR plate as JPEG-LS and as JPEG 2000, 3.1 MB. The node
answers when file and ledger are synced; Orthanc syncs its file; storescp nothing. The bare receiver is Python too and
has two flushes as the node, but no ledger, digest or guard: what is between it and the node is what the node does.
Every guard of the node is on. Read ratios within one run; where others use the machine, read the CPU.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from tests.benchmarks.ingest_peers import SENDERS, Peers
from tests.benchmarks.ingest_receivers import RECEIVERS, Receiver
from tests.benchmarks.ingest_workloads import WORKLOADS, make
from tests.support.sender import storescu

#: What the node is to reach, as a multiple of a receiver's rate: (workload, associations) > {receiver: multiple}.
_GOALS = {
    ("A", 1): {"orthanc": 3.0, "storescp": 1.0},
    ("A", 4): {"orthanc": 2.0, "storescp": 1.0},
    ("B", 1): {"orthanc": 3.0, "storescp": 0.65},
    ("B", 4): {"orthanc": 2.2, "storescp": 0.65},
}


@dataclass(frozen=True)
class Measured:
    """One run of one receiver; cpu_ms: of an instance; foreign: the machine's share that others than these two used."""

    workload: str
    sender: str
    associations: int
    receiver: str
    mb_per_s: float
    instances_per_s: float
    p50_ms: float | None
    p99_ms: float | None
    cpu_s_per_gb: float
    cpu_ms: float
    peak_rss_mb: float
    foreign: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's options."""
    parser.add_argument("--rounds", type=int, default=5, help="rounds, each with every receiver (default %(default)s)")
    parser.add_argument("--instances", type=int, nargs="+", default=[40, 200], help="of A, B, C, D in one run")
    parser.add_argument("--associations", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--senders", nargs="+", default=["raw"], choices=SENDERS)
    parser.add_argument("--receivers", nargs="+", default=list(RECEIVERS), choices=list(RECEIVERS))
    parser.add_argument("--workloads", nargs="+", default=["A", "B"], choices=list(WORKLOADS))
    parser.add_argument("--output", "--json", type=Path, help="write every run to this file")
    parser.add_argument("--folder", type=Path, help="where to receive: the disk that is measured (default: temporary)")


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Measure and print; 0 where every instance was stored by every receiver."""
    missing = [name for name in ("Orthanc", "dcmsend") if shutil.which(name) is None]
    if missing or storescu() is None:
        console.print(f"not installed: {', '.join(missing) or 'storescu'} (apt-get install orthanc dcmtk)")
        return 2
    folder = Path(tempfile.mkdtemp(prefix="dicom-node-ingest-", dir=arguments.folder))
    counts = dict(zip(WORKLOADS, arguments.instances))  # noqa: B905 - the last may be left out
    rows: list[Measured] = []
    peers = Peers(folder)
    try:
        files = {name: make(folder / name, name, counts.get(name, 60)) for name in arguments.workloads}
        for _ in range(arguments.rounds):
            for key in _keys(arguments):
                peers.prepare(key[1], files[key[0]])
                rows += [measure(receiver, files[key[0]], key, peers, folder) for receiver in arguments.receivers]
                if arguments.output:
                    arguments.output.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    finally:
        peers.close()
        shutil.rmtree(folder, ignore_errors=True)
    report(rows, console)
    return 0


def _keys(arguments: argparse.Namespace) -> list[tuple[str, str, int]]:
    """Return what is measured in a round: (workload, sender, associations)."""
    return [
        (workload, sender, associations)
        for workload in arguments.workloads
        for sender in arguments.senders
        for associations in arguments.associations
    ]


def measure(name: str, files: list[Path], key: tuple[str, str, int], peers: Peers, folder: Path) -> Measured:
    """Send all files to a fresh receiver, split over the associations, and return what it took."""
    _, sender, associations = key
    size = sum(file.stat().st_size for file in files)
    with Receiver(name, folder / "receiver") as receiver:
        os.sync()
        cpu, busy = receiver.cpu_s(), _busy_s()
        sent = peers.send(sender, receiver.port, [files[start::associations] for start in range(associations)])
        cpu, busy = receiver.cpu_s() - cpu, _busy_s() - busy
    return Measured(
        *key,
        receiver=name,
        mb_per_s=size / sent.wall_s / 1e6,
        instances_per_s=len(files) / sent.wall_s,
        p50_ms=_percentile(sent.each_s, 0.5),
        p99_ms=_percentile(sent.each_s, 0.99),
        cpu_s_per_gb=cpu / (size / 1e9),
        cpu_ms=cpu / len(files) * 1e3,
        peak_rss_mb=receiver.peak_rss / 1e6,
        foreign=max(0.0, busy - cpu - sent.cpu_s) / (sent.elapsed_s * (os.cpu_count() or 1)),
    )


def _percentile(seconds: list[float], share: float) -> float | None:
    return seconds[int(len(seconds) * share)] * 1e3 if seconds else None


def _busy_s() -> float:
    used = psutil.cpu_times()
    return float(used.user + used.system + used.irq + used.softirq + used.steal)


def report(rows: list[Measured], console: Console) -> None:
    """Print medians, and the node's rate as a multiple of each peer's, its goal in brackets."""
    heads = ("MB/s", "inst/s", "p50 ms", "p99 ms", "CPU s/GB", "CPU ms", "RSS MB")
    figures = ("mb_per_s", "instances_per_s", "p50_ms", "p99_ms", "cpu_s_per_gb", "cpu_ms", "peak_rss_mb")
    table = Table("sent", "to", *heads, "node is", box=None, padding=(0, 1))
    for column in table.columns:
        column.no_wrap = True
    receivers = list(dict.fromkeys(row.receiver for row in rows))
    keys = sorted({(row.workload, row.sender, row.associations) for row in rows})
    for key in keys:
        rates = {name: _median(rows, key, name, "mb_per_s") for name in receivers}
        for name in receivers:
            cells = [_cell(_median(rows, key, name, figure)) for figure in figures]
            table.add_row(f"{key[0]} {key[1]} x{key[2]}", name, *cells, _ratio(key, name, rates))
    console.print(table)
    rounds = len(rows) // max(1, len(keys) * len(receivers))
    foreign = statistics.median(row.foreign for row in rows)
    console.print(f"medians of {rounds} rounds; TCP_NODELAY everywhere; others used {foreign:.0%} of the machine")


def _ratio(key: tuple[str, str, int], name: str, rates: dict[str, float]) -> str:
    if name == "node" or "node" not in rates:
        return ""
    goal = _GOALS.get((key[0], key[2]), {}).get(name)
    return f"{rates['node'] / rates[name]:.2f}x" + (f" ({goal:g})" if goal else "")


def _median(rows: list[Measured], key: tuple[str, str, int], name: str, figure: str) -> float:
    values = [
        getattr(row, figure)
        for row in rows
        if (row.workload, row.sender, row.associations, row.receiver) == (*key, name)
    ]
    present = [value for value in values if value is not None]
    return statistics.median(present) if present else float("nan")


def _cell(value: float) -> str:
    return "-" if value != value else f"{value:.2f}" if value < 10 else f"{value:.0f}"  # noqa: PLR0124 - nan
