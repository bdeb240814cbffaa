"""From an earlier schema to this one: nothing lost, a copy to go back to, and nothing half-done."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from dicom_node.core.errors import LedgerError
from dicom_node.ledger import migrations
from dicom_node.ledger.audit import verify
from dicom_node.ledger.database import open_ledger
from dicom_node.ledger.overview import Overview

EARLIER = Path(__file__).resolve().parents[2] / "support" / "ledgers" / "schema-2.sql"
KEPT = ("job", "analysis", "version", "version_instance", "result_object", "delivery")


@pytest.fixture
def path(tmp_path):
    """Return a ledger as the program of schema 2 left it."""
    path = tmp_path / "ledger.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript(EARLIER.read_text())
    connection.close()
    return path


def rows(path, table):
    connection = sqlite3.connect(path)
    try:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(f"SELECT * FROM {table} ORDER BY 1")]  # noqa: S608 - our own
    finally:
        connection.close()


def shape(path):
    """Return tables with their columns, and indexes with theirs, whatever the order they were made in."""
    connection = sqlite3.connect(path)
    names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    found = {}
    for name in names:
        columns = {row[1]: (row[2], row[3], row[5]) for row in connection.execute(f"PRAGMA table_info({name})")}
        indexes = {
            (row[2], tuple(c[2] for c in connection.execute(f"PRAGMA index_info({row[1]})")))
            for row in connection.execute(f"PRAGMA index_list({name})")
        }
        found[name] = (columns, indexes)
    connection.close()
    return found


def test_c54_an_earlier_ledger_is_taken_forward_and_nothing_is_lost(path):
    before = {table: rows(path, table) for table in (*KEPT, "study", "instance", "history")}
    open_ledger(path).close()
    for table in set(KEPT) - {"delivery"}:
        assert rows(path, table) == before[table], table
    assert rows(path, "delivery") == [row | {"interrupted": 0} for row in before["delivery"]]
    assert rows(path, "study") == [row | {"purged_at": None} for row in before["study"]]
    assert rows(path, "instance") == [row | {"storage": "spool"} for row in before["instance"]]
    trail = list(Overview(path).trail())
    assert [(r.at, r.event, r.study_instance_uid, r.detail) for r in trail] == [
        (row["at"], row["event"], row["study_instance_uid"], row["detail"]) for row in before["history"]
    ]
    assert verify(trail).problem is None


def test_c54_the_schema_that_was_taken_forward_is_the_one_that_is_made_new(path, tmp_path):
    open_ledger(path).close()
    (tmp_path / "new").mkdir()
    open_ledger(tmp_path / "new" / "ledger.sqlite").close()
    assert shape(path) == shape(tmp_path / "new" / "ledger.sqlite")


def test_c54_the_copy_taken_before_is_the_ledger_of_the_earlier_program(path):
    before = {table: rows(path, table) for table in (*KEPT, "instance", "history", "schema_version")}
    open_ledger(path).close()
    copy = migrations.copy_name(path, 2)
    assert copy.stat().st_mode & 0o077 == 0
    assert {table: rows(copy, table) for table in before} == before
    copy.replace(path)  # the way back, and forward again
    open_ledger(path).close()
    assert rows(path, "schema_version") == [{"version": migrations.SCHEMA_VERSION}]


def test_c54_an_upgrade_that_is_interrupted_has_not_happened(path, monkeypatch):
    before = shape(path)

    def dies_half_way(connection):
        migrations._to_3(connection)
        raise KeyboardInterrupt

    monkeypatch.setitem(migrations._STEPS, 2, dies_half_way)
    with pytest.raises(KeyboardInterrupt):
        open_ledger(path)
    assert shape(path) == before
    monkeypatch.undo()
    open_ledger(path).close()
    assert len(list(Overview(path).trail())) == len(rows(migrations.copy_name(path, 2), "history"))


def test_c41_a_ledger_that_another_program_has_locked_is_not_waited_for_without_end(path):
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(LedgerError, match="locked by another program"):
        open_ledger(path, busy_s=0.1)
    other.rollback()
    other.close()
    open_ledger(path).close()


@pytest.mark.parametrize("left", [None, b""])
def test_c41_a_ledger_that_is_gone_while_the_spool_is_not_is_never_made_anew(tmp_path, left):
    path = tmp_path / "ledger.sqlite"
    (tmp_path / "instances" / "ab").mkdir(parents=True)
    (tmp_path / "instances" / "ab" / "abcd.dcm").write_bytes(b"kept")
    if left is not None:
        path.write_bytes(left)
    with pytest.raises(LedgerError, match="dicom-node restore"):
        open_ledger(path)
    assert (path.read_bytes() if path.exists() else None) == left


def test_c54_the_schema_before_alternatives_is_taken_forward_too(path):
    connection = sqlite3.connect(path)
    held = [(row[0], row[1]) for row in connection.execute("SELECT position, kind FROM result_object")]
    connection.executescript("ALTER TABLE result_object DROP COLUMN slot; UPDATE schema_version SET version = 1;")
    connection.close()
    open_ledger(path).close()
    slots = [(row["position"], row["kind"], row["slot"]) for row in rows(path, "result_object")]
    assert slots
    assert slots == [(at, kind, "sr" if kind == "sr" else f"{kind}-{at + 1}") for at, kind in held]
    assert migrations.copy_name(path, 1).is_file()
