"""How fast the node sends: its C-STORE beside DCMTK's storescu (TCP_NODELAY), to DCMTK's storescp, round by round.

In each round both send the same files over one association, first storescu and then the node, each to a receiver that
was just started. storescu's time includes the start of its process, the node's the opening of its association.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from rich.console import Console
from rich.table import Table

from dicom_node.core.identifiers import derived_uid
from dicom_node.dimse.scu import Outgoing, Peer, open_sender
from dicom_node.part10.writer import EXPLICIT_LITTLE, encode
from tests.benchmarks import record
from tests.benchmarks.record import AT_LEAST, Figure, Record, this_machine
from tests.support.sender import storescu
from tests.support.waiting import free_port, is_open, until

_DX = "1.2.840.10008.5.1.4.1.1.1.1"
_MB = 1e6
_GOAL = 0.9  # of storescu's rate, with TCP_NODELAY on both


def run(rounds: int, seed: int, output: Path | None, console: Console) -> int:
    """Print MB/s and CPU, and keep them in output; 2: DCMTK is not installed."""
    program = storescu()
    if program is None:
        console.print("DCMTK is not installed: apt-get install dcmtk")
        return 2
    folder = Path(tempfile.mkdtemp(prefix="dicom-node-bench-"))
    machine, figures = this_machine(folder), []
    try:
        for number, side in ((30, 2240), (200, 500)):
            items = _write(folder, number, side)
            for nodelay in (False, True):
                receiver = "storescp, TCP_NODELAY" if nodelay else "storescp"
                name = f"{number} x {side * side * 2 / _MB:.1f} MB to {receiver}"
                figures += _measure(program, items, rounds, (name, nodelay))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    _print(figures, console)
    if output:
        Record("send", machine, seed, rounds, figures, method=__doc__ or "").write(output)
    return 0


def _measure(program: str, items: list[Outgoing], rounds: int, to: tuple[str, bool]) -> list[Figure]:
    name, nodelay = to
    size = sum(item.path.stat().st_size for item in items)
    theirs, ours, cpu = [], [], []
    for _ in range(rounds):
        with _Receiver(nodelay=nodelay) as port:
            theirs.append(size / _MB / _storescu(program, port, items))
        with _Receiver(nodelay=nodelay) as port:
            wall, used = _node(port, items)
            ours.append(size / _MB / wall)
            cpu.append(used / (size / 1e9))
    peer = record.Peer.of("storescu", theirs, _GOAL)
    rate = Figure.of(f"{name}, rate", "MB/s", ours, (AT_LEAST, None), peer)
    return [rate, Figure.of(f"{name}, CPU of the sender", "s/GB", cpu)]


def _print(figures: list[Figure], console: Console) -> None:
    table = Table("what", "node", "unit", "storescu", "node is")
    for figure in figures:
        peer = figure.peer
        beside = (f"{peer.value:.0f}", f"{figure.value / peer.value:.1f}x") if peer else ("", "")
        table.add_row(figure.name, f"{figure.value:.2f}", figure.unit, *beside)
    console.print(table)


def _storescu(program: str, port: int, items: list[Outgoing]) -> float:
    line = [program, "-q", "-R", "127.0.0.1", str(port), *(str(item.path) for item in items)]
    begun = time.perf_counter()
    subprocess.run(line, check=True, env=dict(os.environ, TCP_NODELAY="1"))
    return time.perf_counter() - begun


def _node(port: int, items: list[Outgoing]) -> tuple[float, float]:
    begun, used = time.perf_counter(), time.process_time()
    with open_sender(Peer("ANY-SCP", "127.0.0.1", port, 60.0), "BENCH", [item.context for item in items]) as sender:
        if any(sender.store(item) for item in items):
            message = "storescp refused an object"
            raise RuntimeError(message)
    return time.perf_counter() - begun, time.process_time() - used


class _Receiver:
    """DCMTK's storescp, with a folder of its own."""

    def __init__(self, *, nodelay: bool) -> None:
        self._folder = tempfile.mkdtemp(prefix="dicom-node-bench-")
        self._environment = dict(os.environ, **({"TCP_NODELAY": "1"} if nodelay else {}))

    def __enter__(self) -> int:
        port = free_port()
        line = [str(shutil.which("storescp", path="/usr/local/bin:/usr/bin")), "-q", "-od", self._folder, str(port)]
        self._process = subprocess.Popen(line, env=self._environment)
        until(lambda: is_open(port), 10, "storescp listens")
        return port

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def _write(folder: Path, number: int, side: int) -> list[Outgoing]:
    noise = np.random.default_rng(1).integers(0, 4096, size=(side, side), dtype=np.uint16)
    return [_object(folder, side, n, np.roll(noise, n, axis=0)) for n in range(number)]


def _object(folder: Path, side: int, number: int, pixels: np.ndarray) -> Outgoing:
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = _DX, derived_uid("bench", str(side), str(number))
    ds.StudyInstanceUID, ds.SeriesInstanceUID = derived_uid("bench", "study"), derived_uid("bench", "series")
    ds.Modality, ds.PatientID, ds.PatientName = "DX", "BENCH", "Bench"
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = side, side, 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.add_new("PixelData", "OW", pixels.tobytes())
    path = folder / f"{side}-{number}.dcm"
    path.write_bytes(encode(ds))
    return Outgoing(_DX, str(ds.SOPInstanceUID), EXPLICIT_LITTLE, path)
