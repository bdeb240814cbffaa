"""The commands: an admin's questions answered, mistakes told in one line, exit codes that scripts can use."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dicom_node.cli.main import COMMANDS, main
from dicom_node.core.study import Quiet, Role
from dicom_node.ledger import audit, instances, jobs, results, studies
from dicom_node.ledger.database import open_ledger
from dicom_node.ledger.spool import StateFolders
from tests.unit.ledger.arrivals import an_arrival

FINDING = '{"outcome": "inconclusive", "probability": 0.25, "reason": {"code": "x", "text": "between"}}'


@pytest.fixture
def config(tmp_path):
    """Return the configuration of a node that has answered one study and refused one instance."""
    folders = StateFolders(tmp_path / "state")
    folders.create()
    ledger = open_ledger(folders.ledger)
    with ledger.transaction() as connection:
        instances.record(connection, an_arrival("1.2.3.1"), Quiet(0, 0), "bundle", 100.0)
        instances.record(connection, an_arrival("1.2.3.2", role=Role.KEPT), Quiet(0, 0), "bundle", 100.0)
        studies.close_due(connection, "bundle", 101.0)
        lease = jobs.lease(connection, 101.0, 60.0)
        jobs.complete(connection, lease)
        analysed = results.Analysed(lease.instance_id, "bundle", FINDING, None, None)
        results.save_analysis(connection, analysed, 101.0)
        studies.promote_waiting(connection, 101.0)
        lease = jobs.lease(connection, 101.0, 60.0)
        jobs.complete(connection, lease)
        found = results.Published("inconclusive", 0.25, "x", "between", "bundle", "results/1", "0", ())
        results.publish(connection, lease.version_id, found, ("pacs",), 102.0)
        audit.note(
            connection,
            103.0,
            "instance.refused",
            sop_instance="1.2.9",
            detail="0xA900: other UID",
            calling_ae="MODALITY",
            peer="192.0.2.7",
        )
    ledger.close()
    file = tmp_path / "node.toml"
    file.write_text("[node]\nstate_dir = 'state'\n")
    return str(file)


def test_the_studies_are_listed_with_their_answers(config, capsys):
    assert main(["studies", "--config", config]) == 0
    said = capsys.readouterr().out
    assert "inconclusive (25%): between" in said
    assert "1.2.3  (2 instances, closed, version 1)" in said


def test_one_study_is_told_in_full(config, capsys):
    assert main(["studies", "1.2.3", "--config", config]) == 0
    said = " ".join(capsys.readouterr().out.split())
    for expected in (
        "1.2.3.1",
        "not analysed: modality MR",
        "published",
        "ready",
        "result.published",
        "2 instances kept here",
    ):
        assert expected in said
    assert main(["studies", "1.2.3", "--config", config, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [item["role"] for item in found["instances"]] == ["view", "kept"]
    assert found["versions"][0]["views"] == ["1.2.3.1"]


def test_an_unknown_study_is_said_to_be_unknown(config, capsys):
    assert main(["studies", "9.9", "--config", config]) == 1
    assert "nothing was ever kept" in capsys.readouterr().err
    assert main(["audit", "show", "9.9", "--config", config]) == 1
    assert "no record names it" in capsys.readouterr().err


def test_an_instance_leads_to_its_study_and_a_refused_one_to_its_reason(config, capsys):
    assert main(["studies", "1.2.3.1", "--config", config]) == 1
    assert "its study is 1.2.3\n" in capsys.readouterr().err
    assert main(["studies", "1.2.9", "--config", config]) == 1
    assert "was refused, 0xA900: other UID" in capsys.readouterr().err
    assert main(["audit", "show", "1.2.9", "--json", "--config", config]) == 0
    (record,) = json.loads(capsys.readouterr().out)
    assert record["event"] == "instance.refused"


def test_instances_and_refusals_are_listed(config, capsys):
    assert main(["instances", "--config", config, "--json"]) == 0
    assert [row["role"] for row in json.loads(capsys.readouterr().out)] == ["view", "kept"]
    assert main(["instances", "--refused", "--config", config]) == 0
    said = capsys.readouterr().out
    assert "0xA900" in said
    assert "MODALITY 192.0.2.7" in " ".join(said.split())
    assert main(["instances", "--limit", "1", "--json", "--config", config]) == 0
    said = capsys.readouterr()
    assert [row["role"] for row in json.loads(said.out)] == ["kept"]
    assert "--limit 0" in said.err


def test_retry_says_that_the_node_is_not_running(config, capsys):
    assert main(["retry", "--config", config]) == 4
    assert "dicom-node serve" in capsys.readouterr().err


def test_a_missing_bundle_is_one_line(config, capsys):
    with Path(config).open("a") as file:
        file.write("[analysis]\nbundle = 'engines/nowhere'\n")
    assert main(["bundle", "--config", config]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "SHA256SUMS" in error


def test_check_tells_good_from_bad(config, capsys, tmp_path):
    assert main(["check", "--config", config]) == 0
    assert "sends nowhere" in capsys.readouterr().out
    bad = tmp_path / "bad.toml"
    bad.write_text("[node]\nport = 0\n")
    assert main(["check", "--config", str(bad)]) == 2
    assert f"{bad}:2: node.port:" in capsys.readouterr().err


NEEDED = {
    "queue": ["list"],
    "dead": ["list"],
    "backfill": ["--from", "2026-01-01"],
    "audit": ["verify"],
    "replay": ["1.2.3"],
    "backup": ["folder"],
    "restore": ["folder"],
}


@pytest.mark.parametrize("command", [name for name, (_, _, takes_config) in COMMANDS.items() if takes_config])
def test_wrong_settings_end_every_command_with_2_and_the_line(command, capsys, tmp_path):
    bad = tmp_path / "bad.toml"
    bad.write_text("[nodes]\n")
    needed = NEEDED.get(command, [])
    assert main([command, *needed, "--config", str(bad)]) == 2
    assert capsys.readouterr().err.startswith(f"{bad}:1: nodes: unknown key")


def test_help_names_every_command_and_loads_none():
    program = "import sys; from dicom_node.cli.main import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    program += "print([m for m in ('sqlalchemy', 'pydicom', 'numpy', 'rich', 'torch') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"
    assert all(name in result.stdout for name in COMMANDS)
