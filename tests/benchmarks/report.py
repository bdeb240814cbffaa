"""`scripts/bench report`: composing the result of three radiographs of 2500 x 3000, beside highdicom called naively.

Each side runs in a process of its own on one core, in turn. The worker's side has analysed the images before, so that
its peak is that of a worker with its model; its times are those of composing and writing all alternatives.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
from pydicom.uid import UID
from rich.console import Console
from rich.table import Table

from dicom_node.core.identifiers import derived_uid
from dicom_node.part10.writer import encode
from tests.benchmarks.record import AT_MOST, Figure, Peer, Record, this_machine
from tests.benchmarks.report_side import STUDY
from tests.conformance import report_cases as cases
from tests.support.fracatlas import Pictures

ROWS, COLUMNS, VIEWS = 3000, 2500, 3
_NOISE = 1.5  # grey levels of 255: a detector's, so that the pages are as hard to compress as real ones
_COLUMNS = {
    "cpu_s": "CPU s",
    "first_cpu_s": "first",
    "wall_s": "wall s",
    "peak_mb": "peak MB",
    "largest_page_mb": "page MB",
    "all_mb": "sent MB",
}
_NAMES = {
    "cpu_s": ("composing, CPU", "s"),
    "first_cpu_s": ("composing for the first time, CPU", "s"),
    "wall_s": ("composing, wall", "s"),
    "peak_mb": ("peak memory of the process", "MB"),
    "largest_page_mb": ("largest page", "MB"),
    "all_mb": ("all objects that are sent", "MB"),
}
_BOUNDS = {"cpu_s": 1.5, "first_cpu_s": 1.5, "peak_mb": 600.0, "largest_page_mb": 2.0}


def run(rounds: int, seed: int, output: Path | None, console: Console) -> int:
    """Print the medians of both sides, and keep them in output; 0: every bound was kept, 1: one was not."""
    folder = Path(tempfile.mkdtemp(prefix="dicom-node-bench-"))
    machine = this_machine(folder)
    try:
        source = _write_study(folder, seed)
        sides: dict[str, list[dict[str, float]]] = {"ours": [], "naive": []}
        for number in range(rounds):
            for side in sorted(sides, reverse=bool(number % 2)):
                sides[side].append(_measure(side, folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    medians = {
        side: {name: statistics.median(run[name] for run in runs) for name in _COLUMNS} for side, runs in sides.items()
    }
    table = Table(
        "by", *_COLUMNS.values(), title=f"{VIEWS} views of {ROWS} x {COLUMNS}, {source}, {rounds} rounds, medians"
    )
    for side, name in (("ours", "dicom-node"), ("naive", "highdicom")):
        table.add_row(name, *(f"{medians[side][column]:.2f}" for column in _COLUMNS))
    table.add_row("bound", *(f"{_BOUNDS[column]:g}" if column in _BOUNDS else "" for column in _COLUMNS))
    console.print(table)
    console.print(
        f"load of this machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; CPU time on one thread is judged"
    )
    if output:
        figures = [_figure(name, sides) for name in _COLUMNS]
        Record("report", machine, seed, rounds, figures, method=f"{__doc__}Made {source}.").write(output)
    broken = [name for name, bound in _BOUNDS.items() if medians["ours"][name] > bound]
    for name in broken:
        console.print(f"over its bound: {_COLUMNS[name]}", style="red")
    return 1 if broken else 0


def _figure(name: str, sides: dict[str, list[dict[str, float]]]) -> Figure:
    label, unit = _NAMES[name]
    ours, naive = ([run[name] for run in sides[side]] for side in ("ours", "naive"))
    return Figure.of(label, unit, ours, (AT_MOST, _BOUNDS.get(name)), Peer.of("highdicom, naively", naive))


def _measure(side: str, folder: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.benchmarks.report_side", side, str(folder)]
    one = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    core = {min(os.sched_getaffinity(0))}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **one}, preexec_fn=lambda: _pin(core)
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _pin(core: set[int]) -> None:
    os.sched_setaffinity(0, core)


def _write_study(folder: Path, seed: int) -> str:
    """Write the radiographs as a node keeps them; return what they were made from."""
    pictures, rng = Pictures(seed), np.random.default_rng(seed)
    (folder / "instances").mkdir()
    for number in range(1, VIEWS + 1):
        large = cv2.resize(pictures[number].grey, (COLUMNS, ROWS), interpolation=cv2.INTER_CUBIC)
        noisy = large + rng.normal(0.0, _NOISE, large.shape)
        dataset = cases.header(number, rows=ROWS, columns=COLUMNS, PhotometricInterpretation="MONOCHROME2")
        dataset.StudyInstanceUID = UID(STUDY)
        dataset.SOPInstanceUID = UID(derived_uid("bench", str(number)))
        dataset.SamplesPerPixel, dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 1, 16, 12, 11
        dataset.PixelRepresentation = 0
        dataset.WindowCenter, dataset.WindowWidth = "2048", "4096"
        dataset.PixelData = np.clip(noisy * 16.0, 0.0, 4095.0).astype("<u2").tobytes()
        dataset["PixelData"].VR = "OW"
        dataset.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.1")
        (folder / "instances" / f"{number:064x}.dcm").write_bytes(encode(dataset))
    return "from FracAtlas radiographs" if pictures.are_real else "from phantoms"
