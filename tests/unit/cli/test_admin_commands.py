"""An administrator's commands without a node: one line for a mistake, the right status, nothing of a patient."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import tarfile
from contextlib import closing
from pathlib import Path

import pytest

from dicom_node.cli import exits
from dicom_node.cli import main as program
from dicom_node.cli.doctor.command import CHECKS
from dicom_node.cli.doctor.service import _may_read
from dicom_node.cli.main import COMMANDS, build_parser, main
from dicom_node.cli.selftest import KNOWN
from dicom_node.cli.toml_text import enable_block, replace_values
from dicom_node.inference.bundle_digest import bundle_digest
from dicom_node.ledger import audit, waiting
from dicom_node.ledger.database import open_ledger
from dicom_node.ledger.spool import StateFolders
from dicom_node.settings import installed_bundle_folder, load

REPOSITORY = Path(__file__).resolve().parents[3]
CANARY = "Canary^Patient"


@pytest.fixture
def config(tmp_path):
    file = tmp_path / "node.toml"
    file.write_text("[node]\nstate_dir = 'state'\nport = 1\nae_title = 'CANARYAE'\n")
    return str(file)


def test_every_command_has_json_but_those_that_run_or_draw():
    parser = build_parser(set(COMMANDS) - {"lab", "engine"})
    (action,) = (one for one in parser._actions if getattr(one, "choices", None) and "serve" in one.choices)
    without = {name for name, sub in action.choices.items() if "--json" not in sub.format_help()}
    assert without == {"serve", "page", "demo", "completion", "conformance", "lab", "engine"}


def test_a_fault_of_ours_is_one_line_and_a_file_without_values(config, capsys, monkeypatch):
    def broken(_arguments: object) -> int:
        raise RuntimeError(CANARY)

    monkeypatch.setattr("dicom_node.cli.check.run", broken)
    assert main(["check", "--config", config]) == exits.INTERNAL
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    file = Path(re.search(r"details: (\S+)", said.err)[1])
    assert "broken" in file.read_text()
    assert CANARY not in said.err + file.read_text()
    file.unlink()


def test_a_file_that_may_not_be_opened_is_named(config, capsys, monkeypatch):
    def forbidden(_arguments: object) -> int:
        raise PermissionError(13, "Permission denied", "/var/lib/dicom-node")

    monkeypatch.setattr("dicom_node.cli.check.run", forbidden)
    assert main(["check", "--config", config]) == exits.FAILED
    assert "/var/lib/dicom-node may not be opened by this user" in capsys.readouterr().err
    assert program.exits is exits


@pytest.mark.parametrize(
    "words", [["status"], ["reload"], ["queue", "drain"], ["dead", "replay"], ["retry"], ["purge"]]
)
def test_where_no_node_answers_the_status_is_4(words, config, capsys):
    assert main([*words, "--config", config]) == exits.SILENT
    said = capsys.readouterr()
    assert "does not answer: start it" in said.err + said.out


def test_a_ledger_that_is_missing_is_3(config):
    assert main(["queue", "list", "--config", config]) == exits.LEDGER


def test_doctor_examines_more_than_twenty_things_and_each_fault_says_what_to_do(config, capsys):
    assert len(CHECKS) >= 20
    main(["doctor", "--config", config, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert len(found) >= 20
    assert not [one for one in found if one["state"] in {"bad", "note"} and not one["do"]]
    assert not [one for one in found if "could not be examined" in one["seen"]]


def of_a_newer_program(folders: StateFolders) -> None:
    open_ledger(folders.ledger).close()
    with closing(sqlite3.connect(folders.ledger)) as connection:
        connection.execute("INSERT INTO schema_version VALUES (99)")
        connection.commit()


@pytest.mark.parametrize(
    ("spoil", "check"),
    [
        (lambda folders: folders.ledger.write_bytes(b"no database at all" * 100), "ledger"),
        (lambda folders: folders.root.chmod(0o755), "state folder"),
        (lambda folders: (folders.instances / "a.dcm").write_bytes(b"received"), "ledger"),
        (of_a_newer_program, "ledger's version"),
    ],
)
def test_c41_doctor_finds_what_is_spoilt(spoil, check, config, capsys):
    folders = StateFolders(Path(config).parent / "state")
    folders.create()
    spoil(folders)
    assert main(["doctor", "--config", config, "--json"]) == exits.FAILED
    found = {one["check"]: one for one in json.loads(capsys.readouterr().out)}
    assert found[check]["state"] == "bad"
    assert main(["doctor", "--config", config]) == exits.FAILED
    assert "BAD" in capsys.readouterr().out


def test_init_fills_in_the_manual_and_keeps_its_comments(tmp_path, capsys):
    file = tmp_path / "made.toml"
    words = ["--pacs-ae-title", "PACS1", "--pacs-host", "127.0.0.1", "--pacs-port", "9", "--host", "192.0.2.1"]
    assert main(["init", "--output", str(file), "--port", "104", *words, "--json"]) == exits.FAILED
    said = json.loads(capsys.readouterr().out)
    assert "cannot be reached" in said["pacs"]["problem"]
    made = load(file)
    assert (made.node.host, made.node.port) == ("192.0.2.1", 104)
    assert [(one.ae_title, one.addresses) for one in made.node.peers] == [("PACS1", ("127.0.0.1",))]
    assert [(one.name, one.ae_title, one.port) for one in made.destinations] == [("pacs", "PACS1", 9)]
    assert file.stat().st_mode & 0o777 == 0o640
    manual = (REPOSITORY / "config" / "dicom-node.toml").read_text()
    comments = [line for line in manual.splitlines() if line.startswith("# ") and "=" not in line and "[[" not in line]
    assert [line for line in comments if line not in file.read_text() and line[2:] not in file.read_text()] == []
    assert main(["init", "--output", str(file), "--yes"]) == exits.USAGE
    assert "--force" in capsys.readouterr().err


def test_a_value_that_no_setting_takes_leaves_no_file(tmp_path, capsys):
    file = tmp_path / "made.toml"
    assert main(["init", "--output", str(file), "--yes", "--ae-title", "much too long for an AE title"]) == exits.USAGE
    assert f"{file}:" in (said := capsys.readouterr().err)
    assert "node.ae_title" in said
    assert list(tmp_path.iterdir()) == []
    file.write_text("# of yesterday\n")
    assert main(["init", "--output", str(file), "--force", "--yes", "--port", "70000"]) == exits.USAGE
    assert file.read_text() == "# of yesterday\n", "the file that was there stays"


def test_values_are_changed_in_their_own_section_only():
    text = "[a]\nx = 1 # one\n[b]\nx = 2\n\n# [[c]]\n# x = 3\n"
    changed = replace_values(enable_block(text, "c"), "b", {"x": "new", "y": [1]})
    assert changed == '[a]\nx = 1 # one\n[b]\ny = [1]\nx = "new"\n\n[[c]]\nx = 3\n'
    assert replace_values("", "b", {"x": True}).strip() == "[b]\nx = true"


def test_bundle_switch_verifies_first_and_pins(config, capsys, tmp_path):
    copy = tmp_path / "engines" / "other"
    shutil.copytree(installed_bundle_folder(), copy)
    assert main(["bundle", "switch", str(copy), "--config", config]) == exits.GOOD
    settings = load(Path(config))
    assert settings.analysis.bundle == copy
    assert len(settings.analysis.bundle_sha256) == 64
    assert settings.node.ae_title == "CANARYAE"
    capsys.readouterr()
    shutil.copytree(copy, copy.with_name(f".{copy.name}.new-1"))  # what an import that was killed leaves, never tried
    assert main(["bundle", "list", "--config", config, "--json"]) == exits.GOOD
    listed = json.loads(capsys.readouterr().out)
    assert [one["used"] for one in listed].count(True) == 1
    assert not [one["folder"] for one in listed if Path(one["folder"]).name.startswith(".")]
    (copy / "head.safetensors").write_bytes(b"changed")
    before = Path(config).read_text()
    assert main(["bundle", "switch", str(copy), "--config", config]) == exits.FAILED
    assert Path(config).read_text() == before


def test_bundle_switch_leaves_owner_group_and_mode_and_names_the_installations_own_for_good(
    config, monkeypatch, tmp_path_factory
):
    file = Path(config)
    file.chmod(0o640)
    given = []
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("os.chown", lambda path, owner, group: given.append((Path(path).name, owner, group)))
    assert main(["bundle", "switch", installed_bundle_folder().name, "--config", config]) == exits.GOOD
    was = file.stat()
    assert given == [(f".{file.name}.new", was.st_uid, was.st_gid)], "the service still reads it"
    assert was.st_mode & 0o777 == 0o640
    # An absolute one would lead into the folder of this version, which an upgrade removes some day.
    assert 'bundle = "engines/compact-fracatlas"' in file.read_text()
    earlier = shutil.copytree(installed_bundle_folder(), tmp_path_factory.mktemp("0.0.9") / "compact-fracatlas")
    file.write_text(file.read_text().replace("engines/compact-fracatlas", str(earlier)))
    assert main(["bundle", "switch", earlier.name, "--config", config]) == exits.GOOD
    assert 'bundle = "engines/compact-fracatlas"' in file.read_text(), "not the earlier version's folder"
    del given[1:]
    assert sorted(path.name for path in file.parent.iterdir()) == ["node.toml"]


@pytest.mark.parametrize(
    ("mode", "owner", "group", "may"),
    [
        (0o640, 0, 995, True),  # as the package and `init` leave it
        (0o640, 0, 0, False),
        (0o644, 0, 0, True),
        (0o600, 995, 995, True),
        (0o200, 995, 995, False),
    ],
)
def test_doctor_sees_whether_the_service_may_read_its_configuration(mode, owner, group, may):
    service = os.stat_result((0o40700, 0, 0, 0, 995, 995, 0, 0, 0, 0))
    assert _may_read(os.stat_result((0o100000 | mode, 0, 0, 0, owner, group, 0, 0, 0, 0)), service) is may


def test_c51_the_support_bundle_holds_nothing_of_a_patient(config, capsys, tmp_path):
    folders = StateFolders(Path(config).parent / "state")
    folders.create()
    ledger = open_ledger(folders.ledger)
    with ledger.transaction() as connection:
        audit.note(connection, 4e9, "instance.refused", study="1.2.840.99.5", detail=CANARY)
    ledger.close()
    (folders.instances / "a.dcm").write_text(CANARY)
    log = tmp_path / "serve.log"
    events = [
        {"event": "instance.stored", "study": "1.2.840.99.5", "calling_ae": "CANARYAE", "size": 5},
        {"event": "instance.stored", "sop_instance": "1.2.840.99.5", "reason": CANARY, "error": f"{CANARY}!"},
        {"event": CANARY},
    ]
    log.write_text("\n".join([json.dumps(one) for one in events] + [f"Traceback: {CANARY}"]))
    output = tmp_path / "support.tar.gz"
    assert main(["support-bundle", "--config", config, "--output", str(output), "--log", str(log)]) == exits.GOOD
    said = capsys.readouterr().out
    with tarfile.open(output) as archive:
        held = {member.name: archive.extractfile(member).read().decode() for member in archive}
    text = "".join(held.values())
    assert not re.search(r"(?i)canary", text)
    assert "1.2.840.99.5" not in text
    disguised = re.findall(r"uid-[0-9a-f]{10}", held["log.jsonl"])
    assert len(disguised) == 2
    assert len(set(disguised)) == 1
    assert json.loads(held["events.json"]) == {"instance.refused": 1}
    assert all(name in said for name in held)
    assert output.stat().st_mode & 0o777 == 0o600


def test_c51_the_support_bundle_takes_the_journal_and_disguises_every_uid(config, tmp_path, monkeypatch):
    """The journal holds an event's fields, or the line of JSON that a program without a journal wrote."""
    uuid, short, number = f"2.25.{7**40}", "1.2.3", "19560612"  # of a UUID, with few components, a patient's number
    entries = [
        {"EVENT": "delivery.dead", "DICOM_STUDY_UID": uuid, "DICOM_ATTEMPTS": "3", "PRIORITY": "3", "MESSAGE": CANARY},
        {"EVENT": "result.not-ahead", "DICOM_STUDY_UID": short, "DICOM_REASON": CANARY, "PRIORITY": "6"},
        {"MESSAGE": json.dumps({"event": "instance.stored", "sop_instance": number, "cause": f"lost/{uuid}"})},
        {"MESSAGE": f"Traceback {CANARY}"},
    ]
    journal = tmp_path / "journalctl"
    lines = "\n".join(json.dumps(one | {"__REALTIME_TIMESTAMP": "1795667884778958"}) for one in entries)
    journal.write_text(f"#!/bin/sh\ncat <<'END'\n{lines}\nEND\n")
    journal.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    output = tmp_path / "support.tar.gz"
    assert main(["support-bundle", "--config", config, "--output", str(output)]) == exits.GOOD
    with tarfile.open(output) as archive:
        text = archive.extractfile("log.jsonl").read().decode()
    events = [json.loads(line) for line in text.splitlines()]
    assert [one["event"] for one in events] == ["delivery.dead", "result.not-ahead", "instance.stored"]
    assert (events[0]["attempts"], events[0]["level"], events[0]["timestamp"][:10]) == ("3", "error", "2026-11-26")
    assert events[2]["cause"] == f"lost/{events[0]['study']}"
    assert not [one for one in (uuid, short, number, CANARY) if one in text]


def test_the_support_bundle_tells_of_a_name_of_a_place_only_whether_it_is_set(config, tmp_path):
    file = Path(config)
    places = "[page]\nhosts = ['canary.example']\n[log]\ntraces = 'http://canary.example/v1/traces'\n"
    file.write_text(file.read_text() + places)
    output = tmp_path / "support.tar.gz"
    log = tmp_path / "empty.log"
    log.touch()
    assert main(["support-bundle", "--config", config, "--output", str(output), "--log", str(log)]) == exits.GOOD
    with tarfile.open(output) as archive:
        settings = json.loads(archive.extractfile("settings.json").read())
    assert (settings["page"]["hosts"], settings["log"]["traces"]) == (True, True)
    assert "canary" not in json.dumps(settings).lower()


def test_the_completion_is_a_script_that_knows_every_command(capsys):
    assert main(["completion", "bash"]) == exits.GOOD
    script = capsys.readouterr().out
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0
    assert all(name in script for name in COMMANDS)


def test_what_is_parked_waits_until_it_is_tried_again(tmp_path):
    ledger = open_ledger(tmp_path / "ledger.sqlite")
    with ledger.transaction() as connection:
        connection.exec_driver_sql(
            "INSERT INTO job (kind, key, state, priority, fence, attempts, crashes, created_at, run_after)"
            " VALUES ('analyse', 'k', 'ready', 0, 0, 0, 0, 1, 1)"
        )
    with ledger.transaction() as connection:
        assert waiting.park(connection, "", 5.0) == waiting.Changed(1, 0)
        assert waiting.count(connection) == waiting.Changed(0, 0)
        assert waiting.retry(connection, "9.9", 6.0) == waiting.Changed(0, 0)
        assert waiting.retry(connection, "", 6.0) == waiting.Changed(1, 0)
        assert waiting.count(connection) == waiting.Changed(1, 0)
    ledger.close()


def test_init_asks_a_person_for_what_no_option_says(monkeypatch):
    import argparse  # noqa: PLC0415 - beside its only use

    from dicom_node.cli import init  # noqa: PLC0415 - as above

    parser = argparse.ArgumentParser()
    init.add_arguments(parser)
    typed = {"AE title of the PACS": "PACS9", "its host name or address": "127.0.0.1", "its DICOM port": "4242"}
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    asked = []

    def ask(question: str) -> str:
        asked.append(question)
        return next((value for key, value in typed.items() if question.startswith(key)), "")

    answers = init._collect(parser.parse_args(["--port", "104"]), ask)
    assert (answers.pacs_ae_title, answers.pacs_host, answers.pacs_port) == ("PACS9", "127.0.0.1", 4242)
    assert (answers.port, answers.ae_title) == (104, "DICOMNODE")
    assert len(asked) == 6
    assert "[127.0.0.1]" in next(one for one in asked if one.startswith("our address"))


def test_the_self_test_knows_the_answers_of_the_bundle_that_is_shipped():
    assert bundle_digest(installed_bundle_folder()) in KNOWN
