"""`scripts/bench answer`: from the close of a study to its report at the PACS, stage by stage, on a real node.

Studies of two radiographs as they are in FracAtlas and of three of 2500 x 3000 are sent one at a time, each with a
heatmap where the model gives one. Moments come from the node's own log and from the receiver's files: at DCMTK's
storescp the report's file tells when it was there, at Orthanc the node's word that everything is.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from pydicom import dcmread
from pydicom.uid import UID, generate_uid
from rich.console import Console
from rich.table import Table

from dicom_node.core.findings import Outcome
from dicom_node.dimse.scu import Outgoing, Peer, open_sender
from dicom_node.part10.writer import encode
from tests.benchmarks.figures import Spread
from tests.conformance import report_cases as cases
from tests.support import direct, orthanc
from tests.support.fracatlas import Pictures
from tests.support.node import Node, moment
from tests.support.system import BUNDLE
from tests.support.waiting import free_port, is_open, until

if TYPE_CHECKING:
    from typing_extensions import Self

DX = "1.2.840.10008.5.1.4.1.1.1.1"
_EXPLICIT = "1.2.840.10008.1.2.1"
_DRAWN = {Outcome.POSITIVE, Outcome.INCONCLUSIVE}
_NOISE = 1.5  # grey levels of 255: a detector's, so that pages are as hard to compress as real ones
_RECEIVERS = ("storescp", "Orthanc")
_TRIED = 60  # pictures that are asked for one with a heatmap
_GOAL_MS = {"2 views as in FracAtlas": 150.0, "3 views of 2500 x 3000": 600.0}
_KINDS = {"2 views as in FracAtlas": (2, None), "3 views of 2500 x 3000": (3, (3000, 2500))}
_MOMENTS = {
    "composed": "result published",
    "report": "report at the PACS",
    "all": "every object at the PACS, noted",
}


@dataclass
class Kind:
    """What was found for studies of one kind at one receiver; times in ms."""

    kind: str
    receiver: str
    studies: int = 0
    after_close_ms: dict[str, Spread] = field(default_factory=dict)
    stages_ms: dict[str, Spread] = field(default_factory=dict)
    heatmaps: int = 0
    ahead: int = 0  # results that were composed before the study was closed
    problems: list[str] = field(default_factory=list)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what may be chosen."""
    parser.add_argument("--studies", type=int, default=9, help="studies of each kind (default %(default)s)")
    parser.add_argument("--quiet-s", type=float, default=5.0, help="quiet period (default %(default)s)")
    parser.add_argument("--bundle", type=Path, default=BUNDLE, help="folder of the model bundle")
    parser.add_argument("--receivers", nargs="+", choices=_RECEIVERS, default=_RECEIVERS, help="which PACS")
    parser.add_argument("--output", type=Path, help="write the figures to this file as JSON")


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Print medians; 0: every goal was kept, 1: one was not, or a result is missing."""
    folder = Path(tempfile.mkdtemp(prefix="dicom-node-bench-"))
    found: list[Kind] = []
    try:
        for receiver in arguments.receivers:
            found += _at(receiver, folder / receiver, arguments)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    load = os.getloadavg()
    for kind in found:
        _print(kind, console)
    console.print(f"load of this machine: {load[0]:.1f}, {load[1]:.1f}, {load[2]:.1f} on {os.cpu_count()} cores")
    late = [kind for kind in found if kind.problems or _judged(kind) > _GOAL_MS[kind.kind]]
    for kind in late:
        console.print(f"{kind.kind} at {kind.receiver}: over its goal or incomplete; {kind.problems}", style="red")
    if arguments.output:
        arguments.output.write_text(json.dumps({"load": load, "kinds": [asdict(kind) for kind in found]}, indent=1))
    return 1 if late else 0


def _judged(kind: Kind) -> float:
    """Return the median to the report, or to everything where the receiver does not say when the report was there."""
    spread = kind.after_close_ms.get("report") or kind.after_close_ms.get("all")
    return spread.median if spread else float("inf")


def _at(receiver: str, folder: Path, arguments: argparse.Namespace) -> list[Kind]:
    node = Node(folder / "node", arguments.bundle, quiet_s=arguments.quiet_s)
    with _Storescp(folder) if receiver == "storescp" else _Orthanc(folder, node.port) as pacs:
        node.sends_to("pacs", pacs.ae_title, pacs.port)
        with node:
            made = []
            for name, (views, size) in _KINDS.items():
                studies = _Studies(folder / "sent", arguments.bundle, views, size)
                done = [_one(node, studies, number) for number in range(arguments.studies + 1)]
                answered = [uid for uid in done[1:] if uid is not None]
                made.append(_measure(Kind(name, receiver), node, pacs, answered))
                if None in done:
                    made[-1].problems.append(f"{done.count(None)} studies without a result")
    return made


def _one(node: Node, studies: _Studies, number: int) -> str | None:
    """Send a study and wait until its result is at the PACS, so that none waits for another; None where it is not."""
    uid = studies.send(node.port, number)
    try:
        until(lambda: any(e["study"] == uid for e in node.events("delivery.done")), 60, "the result is there")
    except TimeoutError:
        return None
    return uid


def _measure(kind: Kind, node: Node, pacs: _Storescp | _Orthanc, uids: list[str]) -> Kind:
    """Read the moments of some studies from the node's log; the first study of a kind, which warms up, is left out."""
    at = {name: {e["study"]: e for e in node.events(name) if e.get("study") in uids} for name in _EVENTS}
    reports = pacs.reports()
    after: dict[str, list[float]] = {name: [] for name in _MOMENTS}
    stages: dict[str, list[float]] = {}
    for uid in uids:
        closed, published, done = (at[name][uid] for name in _EVENTS)
        begun, made, ended = (moment(event) for event in (closed, published, done))
        report = reports.get(uid)
        for name, when in (("composed", made), ("report", report), ("all", ended)):
            if when is not None:
                after[name].append((when - begun) * 1000.0)
        kind.ahead += bool(published.get("ahead"))
        own = {f"compose: {stage}": took for stage, took in (published.get("took_ms") or {}).items()}
        own |= {f"send: {stage}": took for stage, took in (done.get("took_ms") or {}).items()}
        own |= {"published to sent and noted": (ended - made) * 1000.0}
        for stage, took in own.items():
            stages.setdefault(stage, []).append(took)
    images = [e for e in node.events("image.analysed") if e.get("study") in uids]
    for stage in images[0]["took_ms"] if images else ():
        stages[f"image: {stage}"] = [event["took_ms"][stage] for event in images if stage in event["took_ms"]]
    kind.studies = len(uids)
    kind.heatmaps = sum(event["outcome"] in {one.value for one in _DRAWN} for event in images)
    kind.after_close_ms = {name: Spread.of(values) for name, values in after.items() if values}
    kind.stages_ms = {name: Spread.of(values) for name, values in sorted(stages.items())}
    return kind


_EVENTS = ("study.closed", "result.published", "delivery.done")


class _Studies:
    """Makes studies of real radiographs and sends them; every view is one on which the model draws a heatmap."""

    def __init__(self, folder: Path, bundle: Path, views: int, size: tuple[int, int] | None) -> None:
        self._folder, self._views, self._size = folder, views, size
        self._folder.mkdir(parents=True, exist_ok=True)
        self._rng = np.random.default_rng(1)
        self._pictures: list[np.ndarray] = []
        pictures = Pictures(1)
        for number in range(_TRIED):
            grey = self._sized(pictures[number].grey)
            file = self._write(grey, generate_uid(), number)
            if direct.analyse(bundle, [file]).outcome in _DRAWN or number + views >= _TRIED:
                self._pictures.append(grey)
            if len(self._pictures) >= 2 * views:
                break

    def send(self, port: int, number: int) -> str:
        """Send one study over one association; returns its UID."""
        uid = str(generate_uid())
        files = [
            self._write(self._pictures[(number * self._views + view) % len(self._pictures)], uid, view)
            for view in range(self._views)
        ]
        with open_sender(Peer("DICOMNODE", "127.0.0.1", port, 30.0), "BENCH", [(DX, _EXPLICIT)]) as sender:
            for file in files:
                if sender.store(Outgoing(DX, file.stem, _EXPLICIT, file)):
                    message = f"the node refused {file.stem}"
                    raise RuntimeError(message)
        return uid

    def _sized(self, grey: np.ndarray) -> np.ndarray:
        if self._size is None:
            return grey.astype(np.float64)
        large = cv2.resize(grey, self._size[::-1], interpolation=cv2.INTER_CUBIC)
        return large + self._rng.normal(0.0, _NOISE, large.shape)

    def _write(self, grey: np.ndarray, study: str, number: int) -> Path:
        rows, columns = grey.shape
        dataset = cases.header(number + 1, rows=rows, columns=columns, PhotometricInterpretation="MONOCHROME2")
        dataset.StudyInstanceUID, dataset.SOPInstanceUID = UID(study), generate_uid()
        dataset.SamplesPerPixel, dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 1, 16, 12, 11
        dataset.PixelRepresentation, dataset.WindowCenter, dataset.WindowWidth = 0, "2048", "4096"
        dataset.PixelData = np.clip(grey * 16.0, 0.0, 4095.0).astype("<u2").tobytes()
        dataset["PixelData"].VR = "OW"
        dataset.file_meta.TransferSyntaxUID = UID(_EXPLICIT)
        file = self._folder / f"{dataset.SOPInstanceUID}.dcm"
        file.write_bytes(encode(dataset))
        return file


class _Storescp:
    """DCMTK's storescp without Nagle's delay; its files tell when each object was there."""

    ae_title = "STORESCP"

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "received"
        self._folder.mkdir(parents=True)
        self.port = free_port()

    def __enter__(self) -> Self:
        program = str(shutil.which("storescp", path="/usr/local/bin:/usr/bin"))
        line = [program, "-q", "+xa", "-od", str(self._folder), str(self.port)]
        self._process = subprocess.Popen(line, env=dict(os.environ, TCP_NODELAY="1"))
        until(lambda: is_open(self.port), 10, "storescp listens")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()

    def reports(self) -> dict[str, float]:
        """Return when each study's report was there (epoch seconds), by the study's UID."""
        found = {}
        for file in self._folder.glob("SR*"):
            found[str(dcmread(file, stop_before_pixels=True).StudyInstanceUID)] = file.stat().st_mtime_ns / 1e9
        return found


class _Orthanc:
    """Orthanc without Nagle's delay; it writes in whole seconds when it stored what, so the node's word counts."""

    def __init__(self, folder: Path, node_port: int) -> None:
        self._pacs = orthanc.Orthanc(folder / "pacs", node_port, orthanc.Forward.NONE)
        self.ae_title, self.port = self._pacs.ae_title, self._pacs.dicom_port

    def __enter__(self) -> Self:
        os.environ["TCP_NODELAY"] = "1"  # DCMTK's word to itself; what Orthanc starts with
        self._pacs.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._pacs.stop()

    def reports(self) -> dict[str, float]:
        """Return nothing: it does not say when to the millisecond."""
        return {}


def _print(kind: Kind, console: Console) -> None:
    table = Table(f"{kind.kind}, {kind.receiver}, {kind.studies} studies", "median ms", "p95", "largest")
    for name, spread in kind.after_close_ms.items():
        table.add_row(f"closed to {_MOMENTS[name]}", *_cells(spread))
    table.add_section()
    for name, spread in kind.stages_ms.items():
        table.add_row(name, *_cells(spread))
    console.print(table)
    console.print(f"  {kind.heatmaps} heatmaps; {kind.ahead} of {kind.studies} results composed before the close")


def _cells(spread: Spread) -> tuple[str, str, str]:
    return f"{spread.median:.1f}", f"{spread.p95:.1f}", f"{spread.largest:.1f}"
