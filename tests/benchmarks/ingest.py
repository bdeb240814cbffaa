"""Receiving: the node beside Orthanc and DCMTK's storescp, in one run, round after round, medians and ratios.

Workload A is 10 MB a DX image, B 0.5 MB a CR image. The node answers when file, folder and ledger are synced; Orthanc
syncs its file; storescp nothing. Read ratios within one run, never figures of different runs.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import psutil
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from rich.console import Console
from rich.table import Table

from dicom_node.part10.writer import encode
from tests.benchmarks.ingest_receivers import CALLED, RECEIVERS, Receiver
from tests.support.sender import storescu

_WORKLOADS = {
    "A": ("1.2.840.10008.5.1.4.1.1.1.1", "DX", 2500, 2000),
    "B": ("1.2.840.10008.5.1.4.1.1.1", "CR", 512, 512),
}
_VIEWS = 4  # of a study
#: What the node is to reach, as a multiple of a receiver's rate: (workload, associations) > {receiver: multiple}.
_GOALS = {
    ("A", 1): {"orthanc": 3.0, "storescp": 1.0},
    ("A", 4): {"orthanc": 2.0, "storescp": 1.0},
    ("B", 1): {"orthanc": 3.0, "storescp": 0.65},
    ("B", 4): {"orthanc": 2.2, "storescp": 0.65},
}


@dataclass(frozen=True)
class Measured:
    """One run of one receiver; foreign is the share of the machine that neither receiver nor senders used."""

    workload: str
    sender: str
    associations: int
    receiver: str
    mb_per_s: float
    instances_per_s: float
    p99_ms: float | None
    cpu_s_per_gb: float
    peak_rss_mb: float
    foreign: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's options."""
    parser.add_argument("--rounds", type=int, default=5, help="rounds, each with every receiver (default %(default)s)")
    parser.add_argument("--instances", type=int, nargs=2, default=[40, 200], metavar=("A", "B"), help="in one run")
    parser.add_argument("--associations", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--senders", nargs="+", default=["raw"], choices=["raw", "storescu", "dcmsend"])
    parser.add_argument("--workloads", nargs="+", default=["A", "B"], choices=list(_WORKLOADS))
    parser.add_argument("--json", type=Path, help="write every run to this file")
    parser.add_argument("--folder", type=Path, help="where to receive: the disk that is measured (default: temporary)")


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Measure and print; 0 where every instance was stored by every receiver."""
    missing = [name for name in ("Orthanc", "dcmsend") if shutil.which(name) is None]
    if missing or storescu() is None:
        console.print(f"not installed: {', '.join(missing) or 'storescu'} (apt-get install orthanc dcmtk)")
        return 2
    folder = Path(tempfile.mkdtemp(prefix="dicom-node-ingest-", dir=arguments.folder))
    counts = dict(zip(_WORKLOADS, arguments.instances, strict=True))
    rows: list[Measured] = []
    try:
        files = {name: make(folder / name, name, counts[name]) for name in arguments.workloads}
        for _ in range(arguments.rounds):
            for workload in arguments.workloads:
                for sender in arguments.senders:
                    for associations in arguments.associations:
                        key = (workload, sender, associations)
                        rows += [measure(receiver, files[workload], key, folder) for receiver in RECEIVERS]
                        if arguments.json:
                            arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    report(rows, console)
    return 0


def make(folder: Path, workload: str, count: int) -> list[Path]:
    """Write instances of one kind, each with UIDs and pixels of its own, neither zeros nor pure noise."""
    folder.mkdir(parents=True)
    sop_class, modality, rows, columns = _WORKLOADS[workload]
    noise = np.random.default_rng(1).integers(0, 64, (rows, columns), dtype=np.uint16)
    plane = noise + np.linspace(0, 16000, columns, dtype=np.uint16)
    files = []
    for number in range(count):
        if number % _VIEWS == 0:
            study = generate_uid()
        ds = Dataset()
        ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = sop_class, generate_uid(), modality
        ds.StudyInstanceUID, ds.SeriesInstanceUID = study, generate_uid()
        ds.PatientName, ds.PatientID, ds.BodyPartExamined = "Bench^Phantom", f"BENCH{number}", "HAND"
        ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = rows, columns, 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 14, 13, 0
        ds.add_new(0x7FE00010, "OW", np.roll(plane, number, axis=1).tobytes())
        files.append(folder / f"{number:04d}.dcm")
        files[-1].write_bytes(encode(ds))
    return files


def measure(name: str, files: list[Path], key: tuple[str, str, int], folder: Path) -> Measured:
    """Send all files to a fresh receiver, split over the associations, and return what it took."""
    _, sender, associations = key
    size = sum(file.stat().st_size for file in files)
    with Receiver(name, folder / "receiver") as receiver:
        os.sync()
        parts = [files[start::associations] for start in range(associations)]
        outs = [folder / f"seconds-{start}.json" for start in range(associations)]
        cpu, busy, mine, started = receiver.cpu_s(), _busy_s(), _children_s(), time.perf_counter()
        senders = [_start(sender, receiver.port, out, part) for out, part in zip(outs, parts, strict=True)]
        ended = [process.wait(600) for process in senders]
        elapsed = time.perf_counter() - started
        cpu, busy, mine = receiver.cpu_s() - cpu, _busy_s() - busy, _children_s() - mine
    if any(ended):
        message = f"{name} did not take every instance from {sender}: exit status {ended}"
        raise RuntimeError(message)
    lasted = sorted(second for out in outs if out.exists() for second in json.loads(out.read_text()))
    # The raw sender times the sending itself; the start of a Python interpreter is not the receiver's.
    spans = [sum(json.loads(out.read_text())) for out in outs if out.exists()]
    wall = max(spans) if spans else elapsed
    for out in outs:
        out.unlink(missing_ok=True)
    return Measured(
        *key,
        receiver=name,
        mb_per_s=size / wall / 1e6,
        instances_per_s=len(files) / wall,
        p99_ms=lasted[int(len(lasted) * 0.99)] * 1e3 if lasted else None,
        cpu_s_per_gb=cpu / (size / 1e9),
        peak_rss_mb=receiver.peak_rss / 1e6,
        foreign=max(0.0, busy - cpu - mine) / (elapsed * (os.cpu_count() or 1)),
    )


def _start(sender: str, port: int, out: Path, files: list[Path]) -> subprocess.Popen[bytes]:
    names = [str(file) for file in files]
    if sender == "raw":
        line = [sys.executable, "-m", "tests.benchmarks.ingest_sender", str(port), CALLED, str(out), *names]
    else:
        program = str(Path(storescu() or "storescu").with_name(sender))
        quiet = ["-q", "-R", "-nh"] if sender == "storescu" else ["-q", "-dn"]
        line = [program, *quiet, "-aec", CALLED, "127.0.0.1", str(port), *names]
    return subprocess.Popen(line, stdout=subprocess.DEVNULL, env={**os.environ, "TCP_NODELAY": "1"})


def _busy_s() -> float:
    used = psutil.cpu_times()
    return float(used.user + used.system + used.irq + used.softirq + used.steal)


def _children_s() -> float:
    used = os.times()
    return used.children_user + used.children_system


def report(rows: list[Measured], console: Console) -> None:
    """Print medians, and the node's rate as a multiple of each peer's beside its goal."""
    table = Table(
        "workload", "sender", "assoc.", "receiver", "MB/s", "inst/s", "p99 ms", "CPU s/GB", "RSS MB", "node is"
    )
    keys = sorted({(row.workload, row.sender, row.associations) for row in rows})
    for key in keys:
        rates = {name: _median(rows, key, name, "mb_per_s") for name in RECEIVERS}
        for name in RECEIVERS:
            figures = ("mb_per_s", "instances_per_s", "p99_ms", "cpu_s_per_gb", "peak_rss_mb")
            cells = [_cell(_median(rows, key, name, figure)) for figure in figures]
            table.add_row(key[0], key[1], str(key[2]), name, *cells, _ratio(key, name, rates))
    console.print(table)
    console.print(f"medians of {len(rows) // max(1, len(keys) * len(RECEIVERS))} rounds; TCP_NODELAY everywhere")


def _ratio(key: tuple[str, str, int], name: str, rates: dict[str, float]) -> str:
    if name == "node":
        return ""
    goal = _GOALS.get((key[0], key[2]), {}).get(name)
    return f"{rates['node'] / rates[name]:.2f}x" + (f" (goal {goal:g})" if goal else "")


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
