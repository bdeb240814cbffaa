"""How long the programs take to start: node, worker and commands, beside Orthanc, storescp and what they rest on.

Every round starts each program once, in an order that turns from round to round, on files that the machine has read
before; bytecode is compiled, as an installation's is. A server is timed from its start until it accepts a connection
or tells its manager READY, a command until its end. The state folder and Orthanc's database exist already, and are
those of an empty archive. CPU seconds and peak memory are those up to that moment.
"""

from __future__ import annotations

import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from tests.benchmarks.ingest_receivers import node, orthanc, storescp
from tests.benchmarks.record import AT_MOST, Curve, Figure, Peer, Record, this_machine
from tests.support.node import command
from tests.support.sender import storescu
from tests.support.system import BUNDLE
from tests.support.waiting import free_port, is_open, until

_LIMIT_S, _POLL_S = 60.0, 0.002
_DESTINATION = '[[destinations]]\nname = "pacs"\nae_title = "PACS"\nhost = "127.0.0.1"\nport = 9\n'
_BARE = "python -c pass"
_NETWORK = (
    "import onnxruntime; onnxruntime.InferenceSession("
    f"{str(BUNDLE / 'embedder.onnx')!r}, providers=['CPUExecutionProvider'])"
)


@dataclass(frozen=True)
class Started:
    """One start: wall seconds, CPU seconds of the process, and its peak memory in MB."""

    seconds: float
    cpu_s: float
    peak_mb: float


@dataclass(frozen=True)
class Program:
    """What is started, and the goal and the peer of its time, if it has them."""

    name: str
    start: Callable[[], Started]
    goal_s: float | None = None
    peer: str | None = None


def add_arguments(parser: ArgumentParser) -> None:
    """Add this benchmark's options."""
    parser.add_argument("--rounds", type=int, default=9, help="starts of each program (default %(default)s)")
    parser.add_argument("--output", type=Path, help="write the record to this file")


def run(arguments: Namespace, console: Console) -> int:
    """Measure and print; 1: a goal was missed, 2: a peer is not installed."""
    if shutil.which("Orthanc") is None or storescu() is None:
        console.print("not installed: Orthanc or DCMTK (apt-get install orthanc dcmtk)")
        return 2
    folder = Path(tempfile.mkdtemp(prefix="dicom-node-start-"))
    machine = this_machine(folder)
    found: dict[str, list[Started]] = defaultdict(list)
    try:
        with _programs(folder) as programs:
            for program in programs:
                program.start()  # compiles, creates what is created once, and fills the cache of files
            for number in range(arguments.rounds):
                turn = number % len(programs)
                for program in (*programs[turn:], *programs[:turn]):
                    found[program.name].append(program.start())
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    record = _record(programs, found, arguments, machine)
    _print(record, console)
    if arguments.output:
        record.write(arguments.output)
    return 1 if any(figure.reached is False for figure in record.figures) else 0


@contextmanager
def _programs(folder: Path) -> Iterator[list[Program]]:
    """Yield everything that is started; a node runs meanwhile, for `status` to ask."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"PYTHONPYCACHEPREFIX": str(folder / "bytecode"), "PYDANTIC_DISABLE_PLUGINS": "__all__"}
    environment |= {"PYTHONUNBUFFERED": "1", "MALLOC_ARENA_MAX": "2"}  # as the units set them
    servers = {}
    for name, line in (("node", node), ("orthanc", orthanc), ("storescp", storescp), ("asked", node)):
        (folder / name).mkdir()
        port = free_port()
        servers[name] = (line(folder / name, port), port)
        if line is node:
            with (folder / name / "node.toml").open("a") as config:
                config.write(_DESTINATION)
    asked = str(folder / "asked" / "node.toml")
    worker = [sys.executable, "-m", "dicom_node.services.worker", "--config", asked]
    bare, network = [sys.executable, "-c", "pass"], [sys.executable, "-c", _NETWORK]
    status = [command(), "status", "--json", "--config", asked]
    listening = {
        name: lambda line=line, port=port: _server(line, environment, lambda: is_open(port))
        for name, (line, port) in servers.items()
    }
    programs = [
        Program("node: start to READY", lambda: _notifying(servers["node"][0], environment, folder), 1.0),
        Program("node: start to listening", listening["node"], 1.0, "Orthanc: start to listening"),
        Program("Orthanc: start to listening", listening["orthanc"]),
        Program("storescp: start to listening", listening["storescp"]),
        Program("worker: start to READY", lambda: _notifying(worker, environment, folder), 3.0, "ONNX Runtime alone"),
        Program("ONNX Runtime alone", lambda: _command(network, environment)),
        Program("dicom-node --help", lambda: _command([command(), "--help"], environment), 0.2, _BARE),
        Program("dicom-node status", lambda: _command(status, environment), 0.3, _BARE),
        Program(_BARE, lambda: _command(bare, environment)),
    ]
    line, port = servers["asked"]
    with (folder / "asked.log").open("wb") as log:
        running = subprocess.Popen(line, env=environment, stdout=log, stderr=log)
    try:
        until(lambda: is_open(port), _LIMIT_S, "the node that is asked listens")
        yield programs
    finally:
        _end(running)


def _command(line: list[str], environment: dict[str, str]) -> Started:
    begun = time.perf_counter()
    process = subprocess.Popen(line, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak = 0.0
    while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
        peak = max(peak, _peak_mb(process.pid))  # the kernel's own figure of an ended child includes what started it
        time.sleep(_POLL_S)
    seconds, used = time.perf_counter() - begun, ended[2]
    process.returncode = os.waitstatus_to_exitcode(ended[1])
    if process.returncode:
        message = f"{' '.join(line)} ended with {process.returncode}"
        raise RuntimeError(message)
    return Started(seconds, used.ru_utime + used.ru_stime, peak)


def _notifying(line: list[str], environment: dict[str, str], folder: Path) -> Started:
    """Start a program that tells its manager READY (sd_notify), wait for that, and end it."""
    address = folder / "notify"
    address.unlink(missing_ok=True)
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as manager:
        manager.bind(str(address))
        manager.settimeout(_LIMIT_S)
        return _server(line, environment | {"NOTIFY_SOCKET": str(address)}, lambda: b"READY=1" in manager.recv(4096))


def _server(line: list[str], environment: dict[str, str], is_ready: Callable[[], bool]) -> Started:
    begun = time.perf_counter()
    process = subprocess.Popen(line, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(is_ready, _LIMIT_S, f"{line[0]} is up", every_s=_POLL_S)
        seconds, used = time.perf_counter() - begun, psutil.Process(process.pid).cpu_times()
        return Started(seconds, used.user + used.system, _peak_mb(process.pid))
    finally:
        _end(process)


def _peak_mb(pid: int) -> float:
    """Return the peak memory of a running process; 0 where it has none any more."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0) * 1024 / 1e6


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _record(
    programs: list[Program], found: dict[str, list[Started]], arguments: Namespace, machine: dict[str, object]
) -> Record:
    figures, processes = [], {}
    for program in programs:
        starts = found[program.name]
        peer = Peer.of(program.peer, [one.seconds for one in found[program.peer]]) if program.peer else None
        goal = (AT_MOST, program.goal_s) if program.goal_s is not None else None
        figures.append(Figure.of(program.name, "s", [one.seconds for one in starts], goal, peer))
        used = {"cpu_s": [one.cpu_s for one in starts], "peak_mb": [one.peak_mb for one in starts]}
        processes[program.name] = {name: statistics.median(values) for name, values in used.items()}
    names = [program.name for program in programs]
    lines = {"wall": [figure.value for figure in figures], "CPU": [processes[name]["cpu_s"] for name in names]}
    curves = {"Start, seconds": Curve(names, lines, "", "s, median")}
    return Record("start", machine, arguments.seed, arguments.rounds, figures, curves, processes, __doc__ or "")


def _print(record: Record, console: Console) -> None:
    table = Table("start", "median s", "lowest", "highest", "goal", "CPU s", "peak MB", title=f"{record.rounds} rounds")
    for figure in record.figures:
        used = record.processes[figure.name]
        goal = "" if figure.goal is None else f"{figure.goal:g}"
        spread = (f"{figure.value:.3f}", f"{figure.low:.3f}", f"{figure.high:.3f}")
        table.add_row(figure.name, *spread, goal, f"{used['cpu_s']:.2f}", f"{used['peak_mb']:.0f}")
    console.print(table)
