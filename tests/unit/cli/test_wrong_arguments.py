"""What cannot be meant on the command line is refused in words, and what is named is what is looked at."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from contextlib import closing

import pytest

from dicom_node.cli import exits, init
from dicom_node.cli.main import main
from dicom_node.core.errors import SettingsError
from tests.unit.cli.test_commands import config  # noqa: F401 - the fixture: a node that has answered one study


@pytest.fixture
def two(tmp_path):
    """Return a configuration with two destinations and no ledger."""
    block = "[[destinations]]\nname = '{}'\nae_title = 'A'\nhost = '127.0.0.1'\nport = 1\n"
    file = tmp_path / "two.toml"
    file.write_text("[node]\nstate_dir = 'state'\n" + block.format("one") + block.format("two"))
    return str(file)


@pytest.mark.parametrize(
    "words",
    [
        "studies --limit 99999999999999999999",
        "studies --limit -1",
        "instances --limit ٣",
        "queue list --limit -1",
        "queue drain --wait-s nan",
        "dead list --limit x",
        "audit show --last -1",
        "backfill --from 2026-13-01",
        "backfill --from 2026-01-01 --per-minute 0",
        "backfill --from 2026-01-01 --per-minute inf",
        "backfill --from 2026-01-01 --most-waiting -1",
        "backfill --from 2026-01-01 --limit -1",
        "backfill --from 2026-01-01 --modality cr",
        "echo --host 127.0.0.1 --port 104",
        "echo PACS --host 127.0.0.1",
        "echo A-TITLE-THAT-IS-TOO-LONG --host 127.0.0.1 --port 104",
        "bundle verify another",
    ],
)
def test_what_cannot_be_meant_is_2_and_no_fault_of_ours(words, two, capsys):
    try:
        status = main([*words.split(), "--config", two])
    except SystemExit as end:  # argparse's way
        status = int(end.code or 0)
    assert status == exits.USAGE
    told = capsys.readouterr()
    assert told.out == ""
    assert "fault" not in told.err
    assert "_day" not in told.err


def test_the_list_of_one_destination_is_of_that_one(two, capsys):
    assert main(["destinations", "list", "two", "--config", two]) == exits.GOOD
    told = capsys.readouterr().out
    assert "two:" in told
    assert "one:" not in told
    assert main(["destinations", "list", "three", "--config", two]) == exits.FAILED


def test_what_waits_of_one_study_is_of_that_one(config, capsys):  # noqa: F811 - the fixture
    study = "1.2.3"
    assert main(["queue", "list", study, "--config", config]) == exits.GOOD
    assert study in capsys.readouterr().out
    assert main(["queue", "list", "9.9", "--config", config]) == exits.GOOD
    assert capsys.readouterr().out == "nothing waits of 9.9\n"


@pytest.mark.parametrize("taken", [True, False])
def test_output_that_nobody_takes_ends_in_order(taken, two):
    """As in `dicom-node check | grep -q …`, and where the disk is full that it goes to."""
    reader, writer = os.pipe()
    os.close(reader)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    full = os.open("/dev/full", os.O_WRONLY)
    command = [sys.executable, "-m", "dicom_node.cli.main", "check", "--config", two]
    done = subprocess.run(
        command, stdout=full if taken else writer, stderr=subprocess.PIPE, env=environment, text=True, check=False
    )
    os.close(full)
    os.close(writer)
    said = "dicom-node check: the output cannot be written: no room where it goes\n"
    assert (done.returncode, done.stderr) == ((exits.FAILED, said) if taken else (exits.GOOD, ""))


def test_ctrl_c_while_a_command_is_still_being_loaded_is_no_traceback(monkeypatch):
    def interrupted(_name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dicom_node.cli.main.importlib.import_module", interrupted)
    assert main(["studies"]) == exits.INTERRUPTED


def test_init_that_gets_no_more_answers_writes_nothing():
    def ended(_question: str) -> str:
        raise EOFError

    with pytest.raises(SettingsError, match="nothing was written"):
        init._typed(ended, "its DICOM port: ")


def test_init_finds_the_address_that_faces_a_pacs_of_either_family(monkeypatch):
    class Probe:
        def __init__(self, family: socket.AddressFamily, _kind: socket.SocketKind) -> None:
            self.own = ("2001:db8::5", 0, 0, 0) if family == socket.AF_INET6 else ("192.0.2.5", 0)

        def close(self) -> None:
            pass

        def connect(self, address: tuple[object, ...]) -> None:
            assert len(address) == len(self.own)

        def getsockname(self) -> tuple[object, ...]:
            return self.own

    monkeypatch.setattr(init.socket, "socket", lambda *given: closing(Probe(*given)))
    assert init._facing("192.0.2.20") == "192.0.2.5"
    assert init._facing("2001:db8::20") == "2001:db8::5"


def test_who_may_not_ask_the_node_is_not_told_that_it_does_not_run(two, monkeypatch, capsys):
    def closed(_path):
        raise PermissionError

    monkeypatch.setattr("dicom_node.services.asking.socket_address", closed)
    assert main(["status", "--config", two]) == exits.SILENT
    told = capsys.readouterr().out
    assert told.startswith("UNKNOWN: ")
    assert "run this with sudo" in told
    assert main(["status", "--json", "--config", two]) == exits.SILENT
    assert json.loads(capsys.readouterr().out)["running"] is None
