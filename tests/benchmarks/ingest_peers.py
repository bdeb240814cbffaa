"""The senders: a bare one that measures the receiver, and those that hospitals have."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless

from tests.benchmarks.ingest_receivers import CALLED
from tests.support.orthanc import Forward, Orthanc
from tests.support.sender import read_part10, storescu
from tests.support.waiting import free_port

SENDERS = ("raw", "storescu", "dcmsend", "pynetdicom", "orthanc")
_MODULES = {"raw": "tests.benchmarks.ingest_sender", "pynetdicom": "tests.benchmarks.ingest_sender_pynetdicom"}
_PROPOSED = {str(JPEGLSLossless): "-xt", str(JPEG2000Lossless): "-xv"}


@dataclass(frozen=True)
class Sent:
    """How long sending took, seconds: with the senders' start, without it, each instance, where the sender tells.

    cpu_s: the senders' own.
    """

    elapsed_s: float
    wall_s: float
    each_s: list[float]
    cpu_s: float


class Peers:
    """Sends the same files again and again; what a sender needs beforehand is made once and not timed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._orthanc: Orthanc | None = None
        self._ids: dict[Path, str] = {}

    def close(self) -> None:
        """End what runs."""
        if self._orthanc is not None:
            self._orthanc.stop()

    def prepare(self, sender: str, files: list[Path]) -> None:
        """Give Orthanc its files."""
        if sender != "orthanc":
            return
        if self._orthanc is None:
            os.environ["TCP_NODELAY"] = "1"  # its DCMTK reads it
            self._orthanc = Orthanc(self._folder / "sender", free_port(), Forward.NONE).start()
        self._ids |= {file: self._orthanc.upload(file) for file in files if file not in self._ids}

    def send(self, sender: str, port: int, parts: list[list[Path]]) -> Sent:
        """Send each part over an association of its own. Raises RuntimeError where an instance was not taken."""
        if sender == "orthanc":
            return self._from_orthanc(port, parts)
        outs = [self._folder / f"seconds-{number}.json" for number in range(len(parts))]
        used, started = _children_s(), time.perf_counter()
        processes = [_start(sender, port, out, part) for out, part in zip(outs, parts, strict=True)]
        ended = [process.wait(600) for process in processes]
        elapsed, used = time.perf_counter() - started, _children_s() - used
        if any(ended):
            message = f"not every instance was taken from {sender}: exit status {ended}"
            raise RuntimeError(message)
        told = [json.loads(out.read_text()) for out in outs if out.exists()]
        for out in outs:
            out.unlink(missing_ok=True)
        # A sender in Python times the sending itself; the start of an interpreter is not the receiver's.
        each = sorted(second for seconds in told for second in seconds)
        return Sent(elapsed, max(map(sum, told)) if told else elapsed, each, used)

    def _from_orthanc(self, port: int, parts: list[list[Path]]) -> Sent:
        orthanc = self._orthanc
        assert orthanc is not None
        orthanc.add_modality("receiver", CALLED, port)
        process = psutil.Process(orthanc.pid)
        before, started = sum(process.cpu_times()[:2]), time.perf_counter()
        with ThreadPoolExecutor(len(parts)) as pool:
            bodies = [[self._ids[file] for file in part] for part in parts]
            list(pool.map(lambda body: orthanc.post("/modalities/receiver/store", body), bodies))
        elapsed = time.perf_counter() - started
        return Sent(elapsed, elapsed, [], sum(process.cpu_times()[:2]) - before)


def _start(sender: str, port: int, out: Path, files: list[Path]) -> subprocess.Popen[bytes]:
    names = [str(file) for file in files]
    if sender in _MODULES:
        line = [sys.executable, "-m", _MODULES[sender], str(port), CALLED, str(out), *names]
    else:
        program = str(Path(storescu() or "storescu").with_name(sender))
        proposed = _PROPOSED.get(read_part10(files[0]).transfer_syntax_uid, "-xe")
        options = ["-dn"] if sender == "dcmsend" else ["-R", "-nh", proposed]
        line = [program, "-q", *options, "-aec", CALLED, "127.0.0.1", str(port), *names]
    return subprocess.Popen(line, stdout=subprocess.DEVNULL, env={**os.environ, "TCP_NODELAY": "1"})


def _children_s() -> float:
    used = os.times()
    return used.children_user + used.children_system
