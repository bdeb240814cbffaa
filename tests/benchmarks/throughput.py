"""`scripts/bench throughput`: a queue of radiographs through the node and its worker, beside bare ONNX Runtime.

Each round the worker is held while the node receives its images, and let go; the time is that from the first answer in
the node's log to the last. Then the bare runtime, with as many threads and no node, runs on the same images, prepared
before: once one at a time, and once in each batch size. CPU time is of all processes of the node together.

Measured twice: with a core left over, where decoding and keeping fit beside the model, and with a thread on every core,
where they do not: there the node can at most be as much slower as it needs more CPU time an image.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import psutil
from pydicom import dcmread
from rich.console import Console
from rich.table import Table

from dicom_node.dimse.scu import Outgoing, Peer, open_sender
from dicom_node.inference.bundle import Bundle, load_bundle
from dicom_node.inference.preprocess import prepare
from dicom_node.part10.decode import decode
from tests.support.fracatlas import Factory
from tests.support.node import Node, moment, role_of
from tests.support.system import BUNDLE
from tests.support.waiting import until

_LIMIT_S = 600.0
_GOAL = 0.9
_VIEWS = 4


@dataclass
class Rate:
    """Images a second and CPU ms an image, a value a round."""

    per_s: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)

    def note(self, images: int, wall_s: float, cpu_s: float) -> None:
        """Add a round."""
        self.per_s.append(images / wall_s)
        self.cpu_ms.append(cpu_s / images * 1000.0)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what may be chosen."""
    parser.add_argument("--images", type=int, default=200, help="radiographs in all (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of both sides (default %(default)s)")
    cores = os.cpu_count() or 1
    both = sorted({max(1, cores - 1), cores})
    parser.add_argument("--threads", type=int, nargs="+", default=both, help="of the runtime (default: %(default)s)")
    parser.add_argument("--batches", type=int, nargs="*", default=[4, 8], help="batch sizes (default 4 8)")
    parser.add_argument("--bundle", type=Path, default=BUNDLE, help="folder of the model bundle")
    parser.add_argument("--output", type=Path, help="write the figures to this file as JSON")


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Print medians; 0: the worker is within a tenth of the bare runtime with a core left over, 1: it is not."""
    found = {}
    for threads in arguments.threads:
        folder = Path(tempfile.mkdtemp(prefix="dicom-node-bench-"))
        try:
            rates, roles = _measure(folder, arguments, threads)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        found[threads] = _figures(rates, roles)
        _print(console, threads, rates, found[threads])
    load = os.getloadavg()
    console.print(f"load of this machine: {load[0]:.1f}, {load[1]:.1f}, {load[2]:.1f} on {os.cpu_count()} cores")
    if arguments.output:
        arguments.output.write_text(json.dumps({"load": load, "threads": found}, indent=1))
    return 0 if found[arguments.threads[0]]["ratio"] >= _GOAL else 1


def _figures(rates: dict[str, Rate], roles: dict[str, float]) -> dict[str, Any]:
    ratio = statistics.median(a / b for a, b in zip(rates["node"].per_s, rates["bare"].per_s, strict=True))
    bound = statistics.median(rates["bare"].cpu_ms) / statistics.median(rates["node"].cpu_ms)
    kept = {name: asdict(rate) for name, rate in rates.items()}
    return {"ratio": ratio, "cpu_ratio": bound, "cpu_ms_by_role": roles, "rates": kept}


def _print(console: Console, threads: int, rates: dict[str, Rate], figures: dict[str, Any]) -> None:
    table = Table(f"{threads} thread{'s' * (threads > 1)} of the runtime", "images/s", "CPU ms an image")
    for name, rate in rates.items():
        table.add_row(name, f"{statistics.median(rate.per_s):.1f}", f"{statistics.median(rate.cpu_ms):.1f}")
    for role, spent in figures["cpu_ms_by_role"].items():
        table.add_row(f"  of it {role}", "", f"{spent:.1f}")
    console.print(table)
    console.print(
        f"node to bare: {figures['ratio']:.2f} by the clock, {figures['cpu_ratio']:.2f} by CPU time, "
        "which binds where all cores work"
    )


def _measure(folder: Path, arguments: argparse.Namespace, threads: int) -> tuple[dict[str, Rate], dict[str, float]]:
    bundle = load_bundle(arguments.bundle)
    session = _session(bundle, threads)
    factory = Factory(folder / "sent")
    a_round = max(_VIEWS, arguments.images // arguments.rounds)
    node = Node(folder / "node", arguments.bundle, quiet_s=3600.0)
    node.settings["analysis"]["threads"] = threads
    rates = {name: Rate() for name in ("node", "bare", *(f"bare, batches of {size}" for size in arguments.batches))}
    spent: dict[str, float] = {}
    with node:
        for number in range(arguments.rounds + 1):
            studies = [factory.study(views=_VIEWS) for _ in range(a_round // _VIEWS)]
            files = [file for study in studies for file in study.files]
            wall_s, cpu = _through_node(node, files)
            if not number:
                continue  # what is loaded at the first image is loaded now
            rates["node"].note(len(files) - 1, wall_s, sum(cpu.values()))
            for role, cpu_s in cpu.items():
                spent[role] = spent.get(role, 0.0) + cpu_s / len(files) * 1000.0 / arguments.rounds
            tensors = [prepare(bundle.manifest.preprocessing.id, decode(file).grey).tensor for file in files]
            rates["bare"].note(len(files), *_bare(session, bundle, tensors, 1))
            for size in arguments.batches:
                rates[f"bare, batches of {size}"].note(len(files), *_bare(session, bundle, tensors, size))
    return rates, spent


def _through_node(node: Node, files: list[Path]) -> tuple[float, dict[str, float]]:
    """Return the seconds from the first answer to the last, and the CPU seconds of each role meanwhile."""
    worker = node.process("worker")
    assert worker is not None
    seen = len(node.events("image.analysed"))
    worker.suspend()
    try:
        _send(node.port, files)
    finally:
        before = _cpu(node)
        worker.resume()
    wanted = seen + len(files)
    until(lambda: len(node.events("image.analysed")) >= wanted, _LIMIT_S, "every image is analysed")
    after = _cpu(node)
    moments = [moment(event) for event in node.events("image.analysed")[seen:]]
    return max(moments) - min(moments), {role: after[role] - before.get(role, 0.0) for role in after}


def _send(port: int, files: list[Path]) -> None:
    items = []
    for file in files:
        header = dcmread(file, stop_before_pixels=True)
        syntax = str(header.file_meta.TransferSyntaxUID)
        items.append(Outgoing(str(header.SOPClassUID), str(header.SOPInstanceUID), syntax, file))
    with open_sender(Peer("DICOMNODE", "127.0.0.1", port, 60.0), "BENCH", [item.context for item in items]) as sender:
        for item in items:
            if sender.store(item):
                message = f"the node refused {item.path.name}"
                raise RuntimeError(message)


def _cpu(node: Node) -> dict[str, float]:
    """Return the CPU seconds of the node's processes, by role, those of a role together."""
    spent: dict[str, float] = {}
    for process in node.tree():
        try:
            times, role = process.cpu_times(), role_of(process)
        except psutil.Error:
            continue
        spent[role] = spent.get(role, 0.0) + times.user + times.system
    return spent


def _session(bundle: Bundle, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(bundle.embedder_path), options, providers=["CPUExecutionProvider"])


def _bare(
    session: onnxruntime.InferenceSession, bundle: Bundle, tensors: list[np.ndarray], size: int
) -> tuple[float, float]:
    table = bundle.manifest.embedder
    begun, used = time.perf_counter(), time.process_time()
    for start in range(0, len(tensors), size):
        batch = tensors[start] if size == 1 else np.concatenate(tensors[start : start + size])
        session.run([table.output_name], {table.input_name: batch})
    return time.perf_counter() - begun, time.process_time() - used
