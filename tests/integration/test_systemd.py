"""The units as they are shipped, under a systemd of their own: started, watched, reloaded, drained, hardened."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess

import pytest

from tests.integration.conftest import require
from tests.support.machine import UNITS, Machine, missing
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(300)

NODE, WORKER, PAGE = "dicom-node.service", "dicom-node-worker@1.service", "dicom-node-page.service"
CONFIG = """
[node]
reserve_mib = 64
[study]
quiet_s = 3.0
[analysis]
bundle = "/opt/dicom-node/source/engines/compact-fracatlas"
[log]
format = "json"
"""
DROP_INS = {
    "dicom-node.socket": "[Socket]\nListenStream=\nListenStream=127.0.0.1:104\n",
}
CREDENTIAL = "/etc/dicom-node/credentials/study.quiet_s"
SEND = """
from pathlib import Path
from tempfile import mkdtemp
from dicom_node.cli.demo import phantom, studies
from dicom_node.dimse.scu import Peer, send
to_send, _ = studies.collect(phantom.write(Path(mkdtemp())))
for study in to_send:
    send(Peer("DICOMNODE", "127.0.0.1", 104), "MODALITY", study.objects)
"""
LOCK = """
import sqlite3, time
stranger = sqlite3.connect("/var/lib/dicom-node/ledger.sqlite", isolation_level=None)
stranger.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
time.sleep(250)
"""
JOURNALD = """
import os
print("starting", flush=True)
os.execv("/lib/systemd/systemd-journald", ["systemd-journald"])
"""


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    lack = missing()
    require(not lack or os.geteuid() != 0, lack)  # as root it must work, in CI too
    if lack:
        pytest.skip(f"needs {lack}")
    root = tmp_path_factory.mktemp("machine")
    for folder in (root, *root.parents[:3]):
        folder.chmod(folder.stat().st_mode | 0o055)  # the service's own user looks for its units' files there
    with Machine(root, CONFIG, drop_ins=DROP_INS) as booted:
        booted.systemctl("start", "dicom-node.target")
        until(lambda: is_active(booted, NODE) and is_active(booted, WORKER), 60, "node and worker are ready")
        yield booted


def is_active(machine: Machine, unit: str) -> bool:
    return machine.show(unit, "ActiveState") == "active"


def echo(machine: Machine) -> int:
    inside = "import sys; from dicom_node.dimse.scu import Peer, echo; echo(Peer('DICOMNODE', '127.0.0.1', 104), 'T')"
    return machine.python(inside).returncode


def status_of(machine: Machine, pid: int) -> dict[str, str]:
    lines = machine.run("cat", f"/proc/{pid}/status", f"/proc/{pid}/limits").stdout.splitlines()
    return {line.split(":")[0].split("  ")[0]: line for line in lines}


def test_the_port_is_passed_and_nobody_has_a_capability(machine):
    assert echo(machine) == 0
    assert machine.show(NODE, "StatusText").startswith("accepting as DICOMNODE on port 104; waiting: 0 jobs")
    for unit in (NODE, WORKER):
        seen = status_of(machine, machine.pid(unit))
        assert int(seen["CapEff"].split()[1], 16) == int(seen["CapBnd"].split()[1], 16) == 0
        assert seen["NoNewPrivs"].split()[1] == "1"
        assert seen["Max core file size"].split()[4:6] == ["0", "0"]
        assert int(seen["Uid"].split()[1]) != 0
    assert machine.show(WORKER, "StatusText").startswith("ONNX Runtime")


def test_the_page_shows_what_the_other_units_do(machine):
    inside = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:11180/', timeout=10).read().decode())"

    def verdict() -> str:
        return machine.python(inside).stdout.partition('id="verdict">')[2].partition("<")[0]

    until(lambda: verdict() == "Accepting images, nothing needs you", 60, "the page says that all is well", every_s=1)


@pytest.fixture
def journal(machine):
    """Return what gives the events of the journal that match, while node and worker write to it."""
    units = (NODE, "dicom-node-worker@.service")
    drop_ins = [machine.root / "units" / f"{unit}.d" / "zz-journal.conf" for unit in units]

    def entries(match: str) -> list[dict[str, str]]:
        found = machine.run("journalctl", "-D", "/run/log/journal", "-o", "json", match).stdout
        return [json.loads(line) for line in found.splitlines()]

    with machine.running(JOURNALD):
        until(lambda: machine.run("test", "-S", "/run/systemd/journal/stdout").returncode == 0, 60, "journald listens")
        for file in drop_ins:
            file.write_text("[Service]\nStandardError=journal\nEnvironment=DICOM_NODE__LOG__FORMAT=auto\n")
        machine.systemctl("daemon-reload")
        machine.systemctl("restart", NODE, WORKER)
        yield entries
        for file in drop_ins:
            file.unlink()
        machine.systemctl("daemon-reload")
        machine.systemctl("restart", NODE, WORKER)


def test_a_study_is_answered_within_what_the_units_allow_and_the_journal_tells_its_story(machine, journal):
    sent = machine.python(SEND)
    assert sent.returncode == 0, sent.stderr

    def answered() -> list[dict[str, object]]:
        status = json.loads(machine.dicom_node("status", "--json").stdout)
        return status["latest"] if len(status["latest"]) == 2 and not status["jobs"]["waiting"] else []

    results = until(answered, 60, "both studies are answered", every_s=1)
    assert {one["state"] for one in results} == {"published"}
    assert None not in {one["probability"] for one in results}, "not analysed"
    told = ["image.analysed", "image.analysed", "instance.stored", "instance.stored", "study.closed"]
    for one in results:

        def story(uid=one["study_instance_uid"]) -> list[str]:
            return [entry["EVENT"] for entry in journal(f"DICOM_STUDY_UID={uid}")]

        until(lambda story=story: "result.published" in story(), 20, "the journal has it all")
        # Composed in time or not, as the machine allows.
        heard = [event for event in story() if event not in {"result.ahead", "result.not-ahead"}]
        assert (sorted(heard[:-1]), heard[-1]) == (told, "result.published")


def test_the_worker_can_change_neither_ledger_nor_spool(machine):
    def touch(where: str) -> subprocess.CompletedProcess[str]:
        file = f"/var/lib/dicom-node/{where}/touched"
        return machine.run("nsenter", "-t", str(machine.pid(WORKER)), "--mount", "touch", file)

    for where in (".", "instances", "results"):
        assert "Read-only file system" in touch(where).stderr, where
    for where in ("work", "worker"):
        assert touch(where).returncode == 0, where


def test_the_units_are_free_of_mistakes(machine):
    units = [f"SYSTEMD_UNIT_PATH={machine.root / 'units'}", "systemd-analyze", "verify"]
    checked = machine.run("env", *units, "dicom-node.target", "dicom-node.socket", NODE, WORKER, PAGE)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("unit", "most", "drop_in"),
    [
        (NODE, 1.5, None),
        (PAGE, 1.5, None),
        ("dicom-node-worker@.service", 1.5, None),
        ("dicom-node-worker@.service", 1.6, "dicom-node-worker-gpu.conf"),
    ],
)
def test_figure_18_the_units_are_exposed_no_more_than_promised(unit, most, drop_in, tmp_path):
    require(shutil.which("systemd-analyze"), "systemd-analyze")
    shutil.copy(UNITS / unit, tmp_path)
    if drop_in:
        (tmp_path / f"{unit}.d").mkdir()
        shutil.copy(UNITS / drop_in, tmp_path / f"{unit}.d")
    line = ["systemd-analyze", "security", "--offline=true", f"--threshold={most * 10:.0f}", tmp_path / unit]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    score = re.search(r"Overall exposure level for .*: ([\d.]+)", done.stdout)
    assert done.returncode == 0, score and score.group(0)


def test_figure_23_a_bad_file_is_refused_with_its_line_and_the_node_goes_on(machine):
    file = machine.root / "etc" / "dicom-node" / "dicom-node.toml"
    pid = machine.pid(NODE)
    file.write_text(CONFIG.replace("quiet_s = 3.0", "quiet_s = -1"))
    assert machine.run("systemctl", "reload", NODE).returncode != 0
    asked = machine.dicom_node("reload")
    assert asked.returncode == 2
    assert "dicom-node.toml:5: study.quiet_s" in asked.stderr
    file.write_text(CONFIG.replace("quiet_s = 3.0", "quiet_s = 2.0").replace("[log]", "threads = 1\n[log]"))
    machine.systemctl("reload", NODE)
    applied = [line for line in machine.log().splitlines() if '"reload.applied"' in line]
    assert '"applied": ["study.quiet_s"]' in applied[-1]
    assert '"restart_worker": ["analysis.threads"]' in applied[-1]
    machine.run("install", "-o", "dicom-node", "-m", "400", "/dev/stdin", CREDENTIAL, given="4.0", check=True)
    machine.systemctl("reload", NODE)
    assert machine.log().count('"applied": ["study.quiet_s"]') == 2
    assert (machine.pid(NODE), echo(machine)) == (pid, 0)


@pytest.fixture
def impatient(machine):
    """Have the watchdog see a hang within seconds; as shipped it takes 20, and no busy machine looks like a hang."""
    file = machine.root / "units" / f"{NODE}.d" / "zz-watchdog.conf"
    file.write_text("[Service]\nWatchdogSec=4\n")
    machine.systemctl("daemon-reload")
    machine.systemctl("restart", NODE)
    yield
    file.unlink()
    machine.systemctl("daemon-reload")
    machine.systemctl("restart", NODE)


@pytest.mark.usefixtures("impatient")
def test_c48_a_frozen_node_is_killed_and_serves_again(machine):
    pid, restarts = machine.pid(NODE), int(machine.show(NODE, "NRestarts"))
    machine.run("kill", f"-{signal.SIGSTOP.value}", str(pid), check=True)
    until(lambda: int(machine.show(NODE, "NRestarts")) > restarts, 60, "the watchdog has seen it", every_s=0.5)
    assert echo(machine) == 0
    assert machine.pid(NODE) != pid


@pytest.mark.usefixtures("impatient")
def test_c48_a_loop_that_hangs_ends_the_signs_of_life(machine):
    restarts = int(machine.show(NODE, "NRestarts"))
    with machine.running(LOCK):  # the loop that closes studies waits for this lock
        until(lambda: '"loops.late"' in machine.log(), 60, "the loop is seen to hang", every_s=0.5)
        until(lambda: int(machine.show(NODE, "NRestarts")) > restarts, 60, "no sign of life came", every_s=0.5)
    until(lambda: is_active(machine, NODE), 60, "the node is up again")


def test_figure_17_a_peer_that_comes_while_the_node_is_down_waits_and_is_served(machine):
    machine.run("kill", "-9", str(machine.pid(NODE)), check=True)
    assert echo(machine) == 0
    until(lambda: is_active(machine, NODE), 60, "the node is up again")


def test_what_is_said_to_the_target_is_said_to_all(machine):
    assert set(machine.show("dicom-node.target", "ConsistsOf").split()) == {"dicom-node.socket", NODE, WORKER, PAGE}


def test_what_root_puts_back_belongs_to_the_service(machine):
    assert machine.dicom_node("backup", "/var/lib/backup").returncode == 0
    machine.systemctl("stop", "dicom-node.target")
    until(lambda: machine.show(NODE, "ActiveState") == "inactive", 60, "the end")
    machine.run("sh", "-c", "rm /var/lib/dicom-node/ledger.sqlite*", check=True)
    restored = machine.dicom_node("restore", "/var/lib/backup")
    assert restored.returncode == 0, restored.stderr
    machine.systemctl("start", "dicom-node.target")
    until(lambda: is_active(machine, NODE) and is_active(machine, WORKER), 60, "node and worker are ready")


def test_stopping_ends_in_order(machine):
    machine.systemctl("stop", "dicom-node.target")
    until(lambda: machine.show(NODE, "ActiveState") == machine.show(WORKER, "ActiveState") == "inactive", 60, "the end")
    for unit in (NODE, WORKER):
        assert (machine.show(unit, "Result"), machine.show(unit, "ExecMainStatus")) == ("success", "0"), machine.log()
    assert echo(machine) != 0
