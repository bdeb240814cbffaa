"""The ledger file: durable settings, and never recreated in silence."""

from __future__ import annotations

import sqlite3

import pytest

from dicom_node.core.errors import LedgerError, LedgerUnavailable
from dicom_node.ledger import audit
from dicom_node.ledger.database import open_ledger
from dicom_node.ledger.overview import Overview
from dicom_node.ledger.server import Server


def test_a_transaction_is_on_disk_when_it_returns(tmp_path):
    ledger = open_ledger(tmp_path / "ledger.sqlite")
    with ledger.transaction() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
    ledger.close()


def test_a_failed_transaction_leaves_nothing(tmp_path):
    ledger = open_ledger(tmp_path / "ledger.sqlite")

    def fail_half_way() -> None:
        with ledger.transaction() as connection:
            connection.exec_driver_sql("INSERT INTO schema_version VALUES (99)")
            connection.exec_driver_sql("no such statement")

    with pytest.raises(LedgerUnavailable):
        fail_half_way()
    ledger.close()
    open_ledger(tmp_path / "ledger.sqlite").close()


def test_a_commit_that_fails_keeps_nobody_from_the_next(tmp_path):
    ledger = open_ledger(tmp_path / "ledger.sqlite")

    def commit_what_may_not_be():
        with ledger.transaction() as connection:
            audit.note(connection, 0.0, "undone")
            connection.exec_driver_sql(
                "PRAGMA defer_foreign_keys = ON"
            )  # until the commit, which leaves all of it open
            connection.exec_driver_sql("INSERT INTO version_instance VALUES (7, 7)")

    with pytest.raises(LedgerUnavailable, match="FOREIGN KEY"):
        commit_what_may_not_be()
    with ledger.transaction() as connection:
        audit.note(connection, 1.0, "done")
        assert [record.event for record in audit.after(connection, 0, 9)] == ["done"]
    ledger.close()


def test_c41_a_ledger_of_a_later_schema_is_refused(tmp_path):
    open_ledger(tmp_path / "ledger.sqlite").close()
    with sqlite3.connect(tmp_path / "ledger.sqlite") as connection:
        connection.execute("UPDATE schema_version SET version = 99")
    with pytest.raises(LedgerError, match="schema 99"):
        open_ledger(tmp_path / "ledger.sqlite")


@pytest.mark.parametrize("place", [0, 20])
def test_c41_a_damaged_ledger_is_refused_and_not_recreated(tmp_path, place):
    path = tmp_path / "ledger.sqlite"
    open_ledger(path).close()
    content = bytearray(path.read_bytes())
    content[place : place + 16] = b"garbage garbage!"
    path.write_bytes(content)
    with pytest.raises(LedgerError):
        open_ledger(path)
    assert path.read_bytes()[place : place + 16] == b"garbage garbage!"


def test_the_overview_says_what_is_missing(tmp_path):
    with pytest.raises(LedgerError, match="no ledger"):
        Overview(tmp_path / "none.sqlite")


def test_the_overview_cannot_write(tmp_path):
    open_ledger(tmp_path / "ledger.sqlite").close()
    overview = Overview(tmp_path / "ledger.sqlite")
    assert overview.studies() == []
    assert overview.study("1.2.3") is None
    with overview.reading() as connection, pytest.raises(Exception, match="readonly"):
        connection.exec_driver_sql("INSERT INTO schema_version VALUES (2)")


def test_commits_overwrite_the_write_ahead_log_from_the_start(tmp_path):
    """A commit that lengthens the log would wait for the file system's journal too."""
    ledger = open_ledger(tmp_path / "ledger.sqlite")
    log = tmp_path / "ledger.sqlite-wal"
    before = log.stat().st_size
    for number in range(20):
        with ledger.transaction() as connection:
            audit.note(connection, 0.0, f"event {number}")
    assert before == log.stat().st_size > 4_000_000
    ledger.close()


def test_a_ledger_on_a_server_needs_the_driver_which_is_an_extra(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(LedgerError, match=r"needs the extra `postgres`"):
        open_ledger(Server("postgresql:///ledger", None, tmp_path))
