"""The node as a child process: a configuration of its own, its log in a file, and what the log says of the walk."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dicom_node.cli.demo.pacs import AE_TITLE, LOOPBACK, DemoError
from dicom_node.core.errors import DicomNodeError
from dicom_node.dimse.scu import Peer, echo

if TYPE_CHECKING:
    from io import BufferedReader

NODE_AE_TITLE = "DICOMNODE"
_PROGRAM = "import sys; from dicom_node.cli.main import main; sys.exit(main())"
_START_S = 60.0
_STOP_S = 20.0


@dataclass(slots=True)
class Seen:
    """What the node's log has told so far: counts, whether the worker is up, and the last warning or error."""

    received: int = 0
    analysed: int = 0
    closed: int = 0
    composed: int = 0
    delivered: int = 0
    events: int = 0
    trouble: str = ""

    def note(self, line: bytes) -> None:
        """Take one log line into account; lines that are no events are passed over."""
        try:
            event: Any = json.loads(line)
        except ValueError:
            return
        if not isinstance(event, dict):
            return
        name = str(event.get("event", ""))
        self.events += 1
        counter = _COUNTERS.get(name)
        if counter and event.get("role", "view") == "view":
            setattr(self, counter, getattr(self, counter) + 1)
        if event.get("level") in {"warning", "error", "critical"}:
            self.trouble = name


_COUNTERS = {
    "instance.stored": "received",
    "image.analysed": "analysed",
    "study.closed": "closed",
    "result.published": "composed",
    "delivery.done": "delivered",
}


class NodeProcess:
    """`dicom-node serve` and its children, in a process group of their own so that none of them is left behind."""

    def __init__(self, folder: Path, port: int, bundle: Path, quiet_s: float, analysis: str = "") -> None:
        self.seen = Seen()
        self.log = folder / "node.log"
        self.peer = Peer(ae_title=NODE_AE_TITLE, host=LOOPBACK, port=port)
        self._folder = folder
        self._bundle = bundle
        self._quiet_s = quiet_s
        self._analysis = analysis
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: BufferedReader | None = None

    def start(self, pacs: Peer) -> None:
        """Write the configuration, start the node and wait until it answers C-ECHO."""
        self._folder.mkdir(parents=True, exist_ok=True)
        configuration = self._folder / "dicom-node.toml"
        configuration.write_text(self._configuration(pacs), encoding="utf-8")
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-c", _PROGRAM, "serve", "--config", str(configuration)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._reader = self.log.open("rb")
        deadline = time.monotonic() + _START_S
        while not self._answers():
            self.check()
            if time.monotonic() > deadline:
                trouble = f" ({self.seen.trouble})" if self.seen.trouble else ""
                message = f"the node did not start in {_START_S:.0f} s{trouble}; its log: {self.log}"
                raise DemoError(message)
            time.sleep(0.2)

    def check(self) -> Seen:
        """Read what the log says since the last call. Raises DemoError where the node has ended."""
        if self._reader is not None:
            for line in self._reader.readlines():
                self.seen.note(line)
        if self._process is not None and self._process.poll() is not None:
            message = f"the node ended ({self._last_line()}); its log: {self.log}"
            raise DemoError(message)
        return self.seen

    def stop(self) -> None:
        """End the node as systemd would, with SIGTERM, then by force; nothing of its process group is left."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        if self._process is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.terminate()
            self._process.wait(timeout=_STOP_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def _answers(self) -> bool:
        try:
            echo(self.peer, AE_TITLE)
        except (OSError, DicomNodeError):
            return False
        return True

    def _last_line(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1][:200] if lines else "without a word"

    def _configuration(self, pacs: Peer) -> str:
        quoted = json.dumps  # a JSON string is a TOML basic string
        return f"""# Written by `dicom-node demo`. The manual of every key is config/dicom-node.toml.
[node]
ae_title = {quoted(self.peer.ae_title)}
host = {quoted(self.peer.host)}
port = {self.peer.port}
state_dir = {quoted(str(self._folder / "state"))}
reserve_mib = 64

[study]
quiet_s = {self._quiet_s}

[analysis]
bundle = {quoted(str(self._bundle))}
{self._analysis}

[[destinations]]
name = "pacs"
ae_title = {quoted(pacs.ae_title)}
host = {quoted(pacs.host)}
port = {pacs.port}
retry_first_s = 0.5
retry_longest_s = 5.0

[page]
enabled = false

[log]
format = "json"
"""
