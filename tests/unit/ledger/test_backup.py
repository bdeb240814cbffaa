"""A backup is whole or refused, is taken while the node writes, and comes back as it was."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import closing

import pytest

from dicom_node.core.errors import LedgerError, SettingsError
from dicom_node.core.study import Quiet
from dicom_node.ledger import audit, instances
from dicom_node.ledger.audit import verify
from dicom_node.ledger.backup import back_up, put_back
from dicom_node.ledger.database import open_ledger
from dicom_node.ledger.overview import Overview
from dicom_node.ledger.spool import StateFolders
from dicom_node.services.auditing import read_heads
from tests.unit.ledger.arrivals import an_arrival


@pytest.fixture
def folders(tmp_path):
    """Return the folders of a node that holds two instances, and whose ledger is open."""
    folders = StateFolders(tmp_path / "state")
    folders.create()
    (tmp_path / "node.toml").write_text("[node]\n")
    ledger = open_ledger(folders.ledger)
    with ledger.transaction() as connection:
        for number in (1, 2):
            instances.record(connection, an_arrival(f"1.2.{number}"), Quiet(1, 2), "bundle", 100.0)
    yield folders
    ledger.close()


def told(folders):
    overview = Overview(folders.ledger)
    return overview.instances(), overview.study("1.2.3"), list(overview.trail())


def test_a_backup_of_a_running_node_comes_back_as_it_was(folders, tmp_path):
    head = back_up(folders, tmp_path / "node.toml", tmp_path / "backup")
    assert sorted(file.name for file in (tmp_path / "backup").iterdir()) == [
        "audit.key",
        "backup.json",
        "dicom-node.toml",
        "ledger.sqlite",
    ]
    assert all(file.stat().st_mode & 0o077 == 0 for file in (tmp_path / "backup").iterdir() if file.suffix != ".json")
    elsewhere = StateFolders(tmp_path / "elsewhere")
    assert put_back(tmp_path / "backup", elsewhere, 200.0).seq == head.seq + 1
    assert told(elsewhere)[0] == told(folders)[0]
    assert told(elsewhere)[2][:-1] == told(folders)[2], "and one record that says so"
    assert elsewhere.audit_key.read_bytes() == folders.audit_key.read_bytes()
    ledger = open_ledger(elsewhere.ledger)
    with ledger.transaction() as connection:
        assert audit.note(connection, 1.0, "node.started").seq == head.seq + 2
    ledger.close()


def test_nothing_is_overwritten_neither_a_ledger_nor_a_backup(folders, tmp_path):
    back_up(folders, tmp_path / "node.toml", tmp_path / "backup")
    with pytest.raises(SettingsError, match="exists"):
        back_up(folders, tmp_path / "node.toml", tmp_path / "backup")
    before = told(folders)
    with pytest.raises(LedgerError, match="move it aside"):
        put_back(tmp_path / "backup", folders, 200.0)
    assert told(folders) == before


def test_a_backup_that_was_altered_or_is_not_whole_is_refused(folders, tmp_path):
    back_up(folders, tmp_path / "node.toml", tmp_path / "backup")
    file = tmp_path / "backup" / "ledger.sqlite"
    content = bytearray(file.read_bytes())
    content[5000] ^= 1
    file.write_bytes(content)
    with pytest.raises(LedgerError, match=r"ledger\.sqlite is not what was backed up"):
        put_back(tmp_path / "backup", StateFolders(tmp_path / "elsewhere"), 200.0)
    file.unlink()
    with pytest.raises(LedgerError, match="no whole backup"):
        put_back(tmp_path / "backup", StateFolders(tmp_path / "elsewhere"), 200.0)
    assert not (tmp_path / "elsewhere" / "ledger.sqlite").exists()


def test_a_ledger_whose_trail_is_not_sound_is_neither_backed_up_nor_put_back(folders, tmp_path):
    back_up(folders, tmp_path / "node.toml", tmp_path / "backup")
    forged = tmp_path / "backup" / "ledger.sqlite"
    for file in (folders.ledger, forged):
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("UPDATE audit SET detail = 'never happened' WHERE seq = 1")
            connection.commit()
    listed = json.loads((tmp_path / "backup" / "backup.json").read_text())
    listed["sha256"]["ledger.sqlite"] = hashlib.sha256(forged.read_bytes()).hexdigest()
    (tmp_path / "backup" / "backup.json").write_text(json.dumps(listed))
    with pytest.raises(LedgerError, match="record 1: was changed"):
        back_up(folders, tmp_path / "node.toml", tmp_path / "another")
    assert not (tmp_path / "another").exists()
    with pytest.raises(LedgerError, match="record 1: was changed"):
        put_back(tmp_path / "backup", StateFolders(tmp_path / "elsewhere"), 200.0)


def test_c41_a_lost_ledger_is_put_back_beside_its_spool_and_its_stale_log_is_not_played_into_it(folders, tmp_path):
    back_up(folders, tmp_path / "node.toml", tmp_path / "backup")
    before = told(folders)
    spool = folders.instances / "ab" / "abcd.dcm"
    spool.write_bytes(b"kept")
    ledger = open_ledger(folders.ledger)
    with ledger.transaction() as connection:
        audit.note(connection, 1.0, "node.started")
    wal = (folders.root / "ledger.sqlite-wal").read_bytes()
    ledger.close()
    folders.ledger.unlink()
    (folders.root / "ledger.sqlite-wal").write_bytes(wal)
    put_back(tmp_path / "backup", folders, 200.0)
    assert told(folders)[2][:-1] == before[2]
    assert spool.read_bytes() == b"kept"


def test_after_a_restore_the_trail_is_not_held_against_heads_of_the_ledger_that_is_gone(folders, tmp_path):
    head = back_up(folders, tmp_path / "node.toml", tmp_path / "backup")
    later = json.dumps({"at": 1.0, "head": f"{head.seq + 1}:{'0' * 64}"})
    folders.audit_heads.write_text(f"{later}\n")
    folders.ledger.unlink()
    put_back(tmp_path / "backup", folders, 200.0)
    assert verify(Overview(folders.ledger).trail(), read_heads(folders.audit_heads)).problem is None
    assert (folders.quarantine / folders.audit_heads.name).read_text() == f"{later}\n", "kept for whoever asks"


def test_a_backup_that_may_not_be_read_is_not_called_broken(folders, tmp_path, monkeypatch):
    back_up(folders, tmp_path / "node.toml", tmp_path / "backup")

    def closed(_file: object, **_how: object) -> str:
        raise PermissionError

    monkeypatch.setattr("pathlib.Path.read_text", closed)
    with pytest.raises(PermissionError):
        put_back(tmp_path / "backup", StateFolders(tmp_path / "elsewhere"), 200.0)


def test_there_is_no_backup_of_nothing(tmp_path):
    with pytest.raises(LedgerError, match="no ledger"):
        back_up(StateFolders(tmp_path), tmp_path / "node.toml", tmp_path / "backup")
    assert not (tmp_path / "backup").exists()
