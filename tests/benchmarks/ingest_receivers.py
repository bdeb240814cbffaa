"""The receivers that are measured side by side: node, Orthanc, DCMTK's storescp, a bare one; each in its own folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from tests.support.sender import storescu
from tests.support.waiting import free_port, is_open, until

if TYPE_CHECKING:
    from typing_extensions import Self

CALLED = "BENCHSCP"
#: DCMTK and Debian's Orthanc leave Nagle's algorithm on, 40 ms an instance; other builds switch it off, which is fair.
_NODELAY = {"TCP_NODELAY": "1"}
_SAMPLE_S = 0.02


def node(folder: Path, port: int) -> list[str]:
    """Return the command of the node process alone, every guard and sync on, its log to a file as under systemd."""
    config = folder / "node.toml"
    config.write_text(
        f'[node]\nae_title = "{CALLED}"\nport = {port}\nstate_dir = "{folder / "state"}"\nreserve_mib = 64\n'
        '[study]\nquiet_s = 3600.0\nmax_wait_s = 7200.0\n[log]\nformat = "json"\n'
    )
    return [sys.executable, "-m", "dicom_node.services.node", "--config", str(config)]


def orthanc(folder: Path, port: int) -> list[str]:
    """Return the command of an Orthanc with its own defaults: it syncs each file, and not the folder."""
    config = folder / "orthanc.json"
    settings = {"StorageDirectory": str(folder / "db"), "IndexDirectory": str(folder / "db"), "DicomAet": CALLED}
    closed = {"HttpServerEnabled": False, "RemoteAccessAllowed": False, "Plugins": []}
    config.write_text(json.dumps({**settings, **closed, "DicomPort": port}))
    return ["Orthanc", str(config)]


def storescp(folder: Path, port: int) -> list[str]:
    """Return the command of DCMTK's storescp, which syncs nothing."""
    (folder / "files").mkdir()
    program = Path(storescu() or "storescu").with_name("storescp")
    return [str(program), "-q", "+xa", "-od", str(folder / "files"), str(port)]


def bare(folder: Path, port: int) -> list[str]:
    """Return the command of an upper layer in Python that does nothing but receive, with two flushes as the node."""
    (folder / "files").mkdir()
    return [sys.executable, "-m", "tests.benchmarks.ingest_bare", str(port), str(folder / "files")]


RECEIVERS = {"node": node, "orthanc": orthanc, "storescp": storescp, "bare": bare}


class Receiver:
    """A running receiver: CPU seconds so far and peak memory, sampled."""

    def __init__(self, name: str, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self._folder = folder
        self.port = free_port()
        self._command = RECEIVERS[name](folder, self.port)
        self.peak_rss = 0

    def __enter__(self) -> Self:
        with (self._folder / "log").open("wb") as log:
            environment = {**os.environ, **_NODELAY}
            self._popen = subprocess.Popen(self._command, stdout=log, stderr=log, env=environment)
        self._process = psutil.Process(self._popen.pid)
        until(lambda: is_open(self.port), 60, f"{self._command[0]} listens")
        time.sleep(0.5)  # what it does at its start is over then
        self._sampling = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self._sampler.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._sampling.set()
        self._sampler.join()
        self._popen.terminate()
        try:
            self._popen.wait(10)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def cpu_s(self) -> float:
        """Return the CPU seconds that it used so far."""
        used = self._process.cpu_times()
        return float(used.user + used.system)

    def _sample(self) -> None:
        while not self._sampling.wait(_SAMPLE_S):
            self.peak_rss = max(self.peak_rss, self._process.memory_info().rss)
