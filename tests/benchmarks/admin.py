"""What an administrator waits for: READY, status, a restart, an upgrade; and what an idle installation costs.

Each figure is taken on a machine of its own (systemd in namespaces, the units as they are shipped), but those with
a large ledger, which ask a plain `dicom-node serve`.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import statistics
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from dicom_node.ledger.database import open_ledger
from dicom_node.ledger.spool import StateFolders
from tests.support.machine import Machine, missing
from tests.support.node import command
from tests.support.waiting import free_port, is_open, until

NODE, WORKER, PAGE = "dicom-node.service", "dicom-node-worker@1.service", "dicom-node-page.service"
_CONFIG = """
[node]
reserve_mib = 64
[analysis]
bundle = "/opt/dicom-node/source/engines/compact-fracatlas"
[log]
format = "json"
"""
_ECHO = "from dicom_node.dimse.scu import Peer, echo; echo(Peer('DICOMNODE', '127.0.0.1', 11112), 'BENCH')"
_GET = "import urllib.request as u; u.urlopen('http://127.0.0.1:11180/', timeout=5).read(1)"
#: C-ECHO one after the other for as long as the restart takes; what the longest took, connecting included.
_ECHOES = """
import time, subprocess
from dicom_node.dimse.scu import Peer, echo
longest, restart = 0.0, subprocess.Popen(["systemctl", "try-restart", "dicom-node.service",
                                          "dicom-node-worker@*.service", "dicom-node-page.service"])
while restart.poll() is None or not longest:
    started = time.monotonic()
    echo(Peer("DICOMNODE", "127.0.0.1", 11112, 60.0), "BENCH")
    longest = max(longest, time.monotonic() - started)
    time.sleep(0.02)
print(longest)
"""
_IDLE_S = 60.0
_PAGES = 20


@dataclass
class Figure:
    """One figure: what it is, every measurement, the goal, and the unit of all three."""

    name: str
    goal: float
    unit: str
    measured: list[float] = field(default_factory=list)


def run(studies: int, rounds: int, json_file: Path | None, console: Console) -> int:
    """Measure and print everything; 2 where no machine can be booted."""
    lack = missing()
    if lack:
        console.print(f"needs {lack}")
        return 2
    folder = Path(tempfile.mkdtemp(prefix="dicom-node-bench-"))
    folder.chmod(0o755)
    try:
        figures = [
            *_on_a_machine(folder / "machine", rounds, console),
            *_with_a_large_ledger(folder / "ledger", studies, rounds, console),
        ]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    _print(figures, Console())
    if json_file:
        json_file.write_text(json.dumps([asdict(figure) for figure in figures], indent=1))
    return 0


def _on_a_machine(root: Path, rounds: int, console: Console) -> list[Figure]:
    root.mkdir()
    node = Figure("node READY", 3.0, "s")
    worker = Figure("worker READY", 10.0, "s")
    stopped = Figure("SIGTERM to the end of the node, idle", 5.0, "s")
    idle = Figure(f"idle for {_IDLE_S:.0f} s, node, worker and page together", 0.5, "% of a core")
    killed = {unit: Figure(f"SIGKILL of {unit}, to active again", 2.0, "s") for unit in (NODE, WORKER)}
    served = Figure("SIGKILL of the node, to a C-ECHO answered", 2.0, "s")
    shown = Figure("SIGKILL of the page, to a page served", 2.0, "s")
    upgraded = Figure("restart of everything, as an upgrade does: longest wait of a peer", 60.0, "s")
    with Machine(root, _CONFIG) as machine:
        machine.systemctl("start", "dicom-node.socket")
        for number in range(rounds):
            console.print(f"round {number + 1} of {rounds}")
            node.measured.append(_timed(lambda: machine.systemctl("start", NODE)))
            worker.measured.append(_timed(lambda: machine.systemctl("start", WORKER)))
            machine.systemctl("start", PAGE)
            for unit, figure in killed.items():
                before = machine.pid(unit)
                machine.run("kill", "-9", str(before), check=True)
                figure.measured.append(_timed(lambda unit=unit, before=before: _wait_again(machine, unit, before)))
            served.measured.append(_after_a_kill(machine))
            until(lambda: machine.python(_GET).returncode == 0, 30, "the page is served")
            machine.run("kill", "-9", str(machine.pid(PAGE)), check=True)
            shown.measured.append(_until_shown(machine))
            upgraded.measured.append(float(machine.python(_ECHOES).stdout))
            if number == 0:
                idle.measured.append(_idle_share(machine))
            stopped.measured.append(_timed(lambda: machine.systemctl("stop", NODE)))
            machine.systemctl("stop", WORKER, PAGE)
    return [node, worker, *killed.values(), served, shown, upgraded, stopped, idle]


def _timed(action: Callable[[], object]) -> float:
    started = time.monotonic()
    action()
    return time.monotonic() - started


def _wait_again(machine: Machine, unit: str, before: int) -> None:
    def again() -> bool:
        words = machine.systemctl("show", "-p", "ActiveState", "-p", "MainPID", unit)
        return "ActiveState=active" in words and f"MainPID={before}" not in words

    until(again, 30, f"{unit} runs again", every_s=0.02)


def _after_a_kill(machine: Machine) -> float:
    """Return how long a peer waits that connects just after the node was killed; its own start is not counted."""
    lines = (
        "import os, time, dicom_node.dimse.scu, dicom_node.core.errors",
        f"os.kill({machine.pid(NODE)}, 9)",
        "started = time.monotonic()",
        _ECHO,
        "print(time.monotonic() - started)",
    )
    done = machine.python("\n".join(lines))
    until(lambda: machine.show(NODE, "ActiveState") == "active", 30, "the node is up again")
    return float(done.stdout)


def _until_shown(machine: Machine) -> float:
    """Return how long it takes until the page is served again; asked from within, so that no start of ours counts."""
    lines = (
        "import time, urllib.request as u",
        "started = time.monotonic()",
        "while True:",
        "    try:",
        "        u.urlopen('http://127.0.0.1:11180/', timeout=5).read(1)",
        "        break",
        "    except OSError:",
        "        time.sleep(0.01)",
        "print(time.monotonic() - started)",
    )
    return float(machine.python("\n".join(lines)).stdout)


def _idle_share(machine: Machine) -> float:
    """Return the share of one core that node, worker and page use while nothing happens."""
    time.sleep(10)
    inside = {process.pid for process in psutil.Process(machine.outer_pid).children(recursive=True)}
    programs = [one for one in map(psutil.Process, inside) if "dicom_node.services" in " ".join(one.cmdline())]
    before = sum(sum(one.cpu_times()[:2]) for one in programs)
    time.sleep(_IDLE_S)
    return 100 * (sum(sum(one.cpu_times()[:2]) for one in programs) - before) / _IDLE_S


def _with_a_large_ledger(folder: Path, studies: int, rounds: int, console: Console) -> list[Figure]:
    """Fill a ledger with studies that were answered and delivered, and ask for the status and for the page."""
    console.print(f"filling a ledger with {studies} studies")
    folders = StateFolders(folder / "state")
    folders.create()
    open_ledger(folders.ledger).close()
    fill(folders.ledger, studies)
    config, port = folder / "node.toml", free_port()
    block = "[[destinations]]\nname = 'pacs'\nae_title = 'PACS'\nhost = '127.0.0.1'\nport = 9\n"
    node = f"[node]\nstate_dir = 'state'\nport = {free_port()}\nreserve_mib = 64\n"
    config.write_text(f"{node}[page]\nport = {port}\n{block}")
    status = Figure(f"`dicom-node status`, {studies} studies in the ledger", 0.3, "s")
    page = Figure(f"first byte of the status page, {studies} studies in the ledger", 0.1, "s")
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen([command(), "serve", "--config", config], stdout=log, stderr=log) as serve,
    ):
        try:
            until(lambda: _ask(config) == 0, 120, "the node answers", every_s=0.5)
            until(lambda: is_open(port), 60, "the page is served")
            console.print("counting the ledger for the first time")
            console.print(f"  took {_timed(lambda: _first_byte(port, '/metrics')):.1f} s")
            status.measured = [_timed(lambda: _ask(config)) for _ in range(max(rounds, 5))]
            page.measured = [_timed(lambda: _first_byte(port, "/")) for _ in range(_PAGES)]
        finally:
            serve.terminate()
    return [status, page]


def _first_byte(port: int, path: str) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=300) as answer:
        answer.read(1)


def _ask(config: Path) -> int:
    line = [command(), "status", "--config", config, "--json"]
    return subprocess.run(line, capture_output=True, check=False).returncode


def fill(ledger: Path, studies: int) -> None:
    """Insert studies of one image, each analysed, composed and delivered, by SQL: a second for tens of thousands."""
    rows = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {studies:d})"  # noqa: S608
    with closing(sqlite3.connect(ledger, isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys=OFF")
        connection.execute("BEGIN")
        for table, values in _ROWS.items():
            columns = ", ".join(values)
            chosen = ", ".join(values.values())
            connection.execute(f"INSERT INTO {table} ({columns}) {rows} SELECT {chosen} FROM n")  # noqa: S608 - ours
        connection.execute("COMMIT")


_TRIES = {"attempts": "1", "created_at": "i", "run_after": "i"}
#: What each row of a table holds; i counts the studies.
_ROWS = {
    "study": {
        "id": "i",
        "study_instance_uid": "'1.2.3.' || i",
        "state": "'closed'",
        "first_received_at": "i",
        "last_received_at": "i",
        "closes_at": "i",
    },
    "version": {
        "id": "i",
        "study_id": "i",
        "number": "1",
        "state": "'published'",
        "closed_at": "i",
        "outcome": "'negative'",
        "probability": "0.1",
        "published_at": "i",
    },
    "job": {
        "kind": "'compose'",
        "key": "'c' || i",
        "version_id": "i",
        "state": "'done'",
        "priority": "0",
        "fence": "1",
        "crashes": "0",
        **_TRIES,
    },
    "delivery": {
        "version_id": "i",
        "study_id": "i",
        "destination": "'pacs'",
        "state": "CASE WHEN i % 100000 THEN 'done' ELSE 'dead' END",
        "done_at": "i",
        "interrupted": "0",
        **_TRIES,
    },
}


def _print(figures: list[Figure], console: Console) -> None:
    table = Table(title="What an administrator waits for", title_justify="left")
    for column in ("figure", "median", "worst", "goal", "rounds"):
        table.add_column(column, justify="left" if column == "figure" else "right")
    for figure in figures:
        middle, worst = statistics.median(figure.measured), max(figure.measured)
        shown = (f"{middle:.2f}", f"{worst:.2f}", f"{figure.goal:g} {figure.unit}", str(len(figure.measured)))
        table.add_row(figure.name, *shown)
    console.print(table)
