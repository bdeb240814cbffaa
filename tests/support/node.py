"""A running `dicom-node serve`: its configuration, its processes, its log and what it answers about studies."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from dicom_node.ledger.overview import Overview
from dicom_node.ledger.spool import StateFolders
from tests.support.waiting import free_port, is_open, until

if TYPE_CHECKING:
    from typing_extensions import Self

    from dicom_node.ledger.server import Server

ROLES = {"dicom_node.services.node": "node", "dicom_node.services.worker": "worker"}


def command() -> str:
    """Return the `dicom-node` of the interpreter that runs the tests, else the one on the PATH."""
    beside = Path(sys.executable).parent / "dicom-node"
    return str(beside) if beside.exists() else (shutil.which("dicom-node") or "dicom-node")


class Node:
    """One node with its own state folder; it can be killed and started again."""

    def __init__(self, folder: Path, bundle: Path, *, quiet_s: float = 1.0, port: int | None = None) -> None:
        self.folder = folder
        self.port = port or free_port()
        self.state_dir = folder / "state"
        self.config = folder / "dicom-node.toml"
        self.log = folder / "serve.log"
        self.settings: dict[str, Any] = {
            "node": {"ae_title": "DICOMNODE", "port": self.port, "state_dir": str(self.state_dir), "reserve_mib": 64},
            "study": {"quiet_s": quiet_s, "max_wait_s": 600.0},
            "analysis": {"bundle": str(bundle)},
            "destinations": [],
            "page": {"enabled": False},  # two at a time would want the same port
            "log": {"format": "json"},
        }
        self.server: Server | None = None  # of its ledger, as the tests reach it; none: it is in a file
        self._process: subprocess.Popen[bytes] | None = None
        self._parsed = 0
        self._events: list[dict[str, Any]] = []
        folder.mkdir(parents=True, exist_ok=True)

    def sends_to(self, name: str, ae_title: str, port: int, **more: Any) -> Node:
        """Add a destination; retries are quick, since tests take them."""
        block = {"name": name, "ae_title": ae_title, "host": "127.0.0.1", "port": port, "retry_first_s": 0.5}
        self.settings["destinations"].append(block | {"retry_longest_s": 2.0, "timeout_s": 10.0} | more)
        return self

    # life -------------------------------------------------------------------------------------------------------------

    def start(self, *, wait_worker: bool = True) -> Node:
        """Start `dicom-node serve` and wait until it takes associations (and the worker has looked at its bundle)."""
        # `with node.start():` would start it twice, and leave the first one running.
        assert self._process is None or self._process.poll() is not None, "it runs already"
        self.config.write_text(_toml(self.settings))
        seen = len(self.events())
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [command(), "serve", "--config", str(self.config)],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                # The message texts that a person sees are not under test, and colours would break the JSON.
                env=dict(os.environ, NO_COLOR="1"),
            )
        until(self._is_up, 60, f"the node listens on {self.port}; log: {self.log}")
        if wait_worker:
            joined = "worker.joined"
            until(lambda: any(e.get("event") == joined for e in self.events()[seen:]), 120, "the worker is ready")
        return self

    def _is_up(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            tail = self.log.read_text(errors="replace")[-2000:]
            message = f"dicom-node serve ended with {self._process.returncode}:\n{tail}"
            raise RuntimeError(message)
        return is_open(self.port)

    def stop(self, limit_s: float = 60) -> int | None:
        """Stop it with SIGTERM; returns its exit status, and kills what is left after `limit_s`."""
        if self._process is None:
            return None
        processes = self.tree()
        self._process.terminate()
        try:
            return self._process.wait(limit_s)
        except subprocess.TimeoutExpired:
            return None
        finally:
            self._reap(processes)

    def kill_supervisor(self) -> None:
        """SIGKILL the supervisor, wait until its children have gone too, and leave the state as it is."""
        assert self._process is not None
        processes = self.tree()
        self._process.kill()
        self._process.wait()
        _, alive = psutil.wait_procs([p for p in processes if p.pid != self._process.pid], timeout=30)
        self._process = None
        if alive:
            names = ", ".join(role_of(process) for process in alive)
            self._reap(alive)
            message = f"children outlived a killed supervisor by 30 s: {names}"
            raise RuntimeError(message)

    def kill(self, role: str) -> int | None:
        """SIGKILL the `node` or `worker` child; returns its pid, or None where it is just being restarted."""
        process = self.process(role)
        if process is None:
            return None
        try:
            process.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            return None
        return int(process.pid)

    def _reap(self, processes: list[psutil.Process]) -> None:
        for process in processes:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(processes, timeout=30)
        if self._process is not None:
            self._process.poll()
        self._process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    # processes --------------------------------------------------------------------------------------------------------

    def tree(self) -> list[psutil.Process]:
        """Return the supervisor and everything below it."""
        if self._process is None:
            return []
        try:
            supervisor = psutil.Process(self._process.pid)
            return [supervisor, *supervisor.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def process(self, role: str) -> psutil.Process | None:
        """Return the child that plays a role ("node" or "worker"), if it runs now."""
        return next((process for process in self.tree()[1:] if role_of(process) == role), None)

    # answers ----------------------------------------------------------------------------------------------------------

    def ask(self, *arguments: str) -> Any:
        """Return the JSON that a `dicom-node` command prints."""
        line = [command(), *arguments, "--config", str(self.config), "--json"]
        done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=120)
        if done.returncode != 0:
            message = f"{' '.join(line)} ended with {done.returncode}: {done.stderr[-1000:]}"
            raise RuntimeError(message)
        return json.loads(done.stdout)

    def overview(self) -> Overview:
        """Return the read-only view of the ledger, for questions too many to start a command for each."""
        return Overview(self.server or StateFolders(self.state_dir).ledger)

    def studies(self) -> dict[str, dict[str, Any]]:
        """Return every study by its UID, without its instances."""
        return {study["study_instance_uid"]: study for study in self.overview().studies(limit=100_000)}

    def study(self, study_instance_uid: str) -> dict[str, Any]:
        """Return one study with its instances, versions, deliveries and history."""
        found = self.overview().study(study_instance_uid)
        assert found is not None, study_instance_uid
        return found

    def instances(self) -> list[dict[str, Any]]:
        """Return every instance with its role and reason."""
        return self.overview().instances()

    def wait_versions(self, study_instance_uid: str, version: int = 1, limit_s: float = 120) -> dict[str, Any]:
        """Wait until a version of a study was delivered everywhere; returns the study."""

        def delivered() -> dict[str, Any] | None:
            if study_instance_uid not in self.studies():
                return None
            study = self.study(study_instance_uid)
            due = [delivery for delivery in study["deliveries"] if delivery["version"] == version]
            enough = len(due) == len(self.settings["destinations"])
            return study if enough and due and all(d["state"] == "done" for d in due) else None

        return until(delivered, limit_s, f"version {version} of {study_instance_uid} is delivered", every_s=0.3)

    def events(self, name: str = "") -> list[dict[str, Any]]:
        """Return the log events so far, those of one name where given; lines that are not JSON are skipped."""
        if self.log.exists():
            with self.log.open("rb") as log:
                log.seek(self._parsed)
                fresh = log.read()
            whole = fresh[: fresh.rfind(b"\n") + 1]
            self._parsed += len(whole)
            self._events += [event for line in whole.splitlines() if (event := _event(line)) is not None]
        return [event for event in self._events if not name or event.get("event") == name]


def _toml(settings: dict[str, Any]) -> str:
    """Return the settings as TOML; their strings, numbers and lists are written alike in JSON."""
    lines = []
    for section, value in settings.items():
        for block in value if isinstance(value, list) else [value]:
            lines.append(f"[[{section}]]" if isinstance(value, list) else f"[{section}]")
            lines += [f"{key} = {json.dumps(item)}" for key, item in block.items()]
    return "\n".join(lines) + "\n"


def _event(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None


def unfinished(state_dir: Path) -> list[Path]:
    """Return the files that something was received into and that nobody completed or removed."""
    return [file for file in (state_dir / "incoming").iterdir() if _size(file)]


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:  # it has just gone to its place
        return 0


def names_below(folder: Path) -> list[str]:
    """Return the paths of everything in a folder, however much a running node changes there meanwhile."""
    return [f"{where}/{name}" for where, folders, files in os.walk(folder) for name in (*folders, *files)]


def moment(event: dict[str, Any]) -> float:
    """Return when an event was logged, in epoch seconds."""
    stamp = event.get("timestamp") or event.get("time") or event.get("ts")
    if isinstance(stamp, (int, float)):
        return float(stamp)
    return datetime.fromisoformat(str(stamp).replace("Z", "+00:00")).timestamp()


def role_of(process: psutil.Process) -> str:
    """Return what a process of the node is: supervisor, node, worker, or the helper of one of them."""
    try:
        line = " ".join([process.name(), *process.cmdline()])
        parent = process.parent()
    except psutil.Error:
        return "gone"
    for module, role in ROLES.items():
        if module in line:
            # A forked helper still carries its parent's command line.
            above = "" if parent is None else _line(parent)
            return f"{role}-helper" if module in above else role
    above = "" if parent is None else _line(parent)
    for module, role in ROLES.items():
        if module in above:
            return f"{role}-helper"
    return "supervisor" if " serve" in line else "helper"


def _line(process: psutil.Process) -> str:
    try:
        return " ".join([process.name(), *process.cmdline()])
    except psutil.Error:
        return ""
