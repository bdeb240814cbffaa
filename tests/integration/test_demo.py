"""The demonstration as a person starts it: everything up, the walk, the words, everything down again."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.waiting import until

PROGRAM = [sys.executable, "-c", "import sys; from dicom_node.cli.main import main; sys.exit(main())", "demo"]
HAS_ORTHANC = shutil.which("Orthanc", path=f"{os.environ.get('PATH', '')}:/usr/sbin") is not None


@pytest.fixture
def folder() -> Iterator[Path]:
    """Yield a folder with a short name: a Unix socket's path may have 107 characters, and pytest's are long."""
    with tempfile.TemporaryDirectory(prefix="demo-") as name:
        yield Path(name)


def processes_of(folder: Path) -> list[str]:
    """Return the command lines of running processes that name a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in line:
            found.append(line)
    return found


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "TMPDIR": str(folder)}


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(["--embedded"], id="embedded"),
        pytest.param([], id="orthanc", marks=pytest.mark.skipif(not HAS_ORTHANC, reason="Orthanc is not installed")),
    ],
)
def test_both_phantoms_come_back_with_a_report(folder: Path, options: list[str]) -> None:
    done = subprocess.run(
        [*PROGRAM, "--out", str(folder / "out"), *options],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        env=environment(folder),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "report back 2/2" in done.stdout
    assert "means nothing else" in done.stdout
    assert len(re.findall(r"PHANTOM000[12]\)", done.stdout)) >= 2
    assert (folder / "out" / "study-1" / "01-summary.png").stat().st_size > 1000
    assert (folder / "out" / "study-2" / "01-summary.png").stat().st_size > 1000
    assert list(folder.glob("dicom-node-demo-*")) == []
    until(lambda: processes_of(folder) == [], 10, "no process is left")


@pytest.fixture
def ctrl_c_works() -> Iterator[None]:
    """Undo an ignored SIGINT, which a job in a shell's background inherits and would hand on."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c_works")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupting_it_leaves_no_process_and_no_folder(folder: Path, number: signal.Signals) -> None:
    process = subprocess.Popen(
        [*PROGRAM, "--embedded", "--out", str(folder / "out")],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(folder),
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "sending to the PACS" in line:
            break
    process.send_signal(number)
    rest = process.communicate(timeout=120)[0]
    assert process.returncode == 130, rest
    assert "Traceback" not in rest
    until(lambda: processes_of(folder) == [], 10, "no process is left")
    assert list(folder.glob("dicom-node-demo-*")) == []
