"""A ledger on a real PostgreSQL server: what the server does to it, and what it must not lose thereby."""

from __future__ import annotations

import logging
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import event

from dicom_node.core.errors import LedgerError, LedgerUnavailable
from dicom_node.core.study import Quiet
from dicom_node.ledger import audit, commitments, instances, migrations, postgres, recent
from dicom_node.ledger.audit import verify
from dicom_node.ledger.database import open_ledger
from dicom_node.ledger.group_commit import GroupCommit
from dicom_node.ledger.overview import Overview
from dicom_node.ledger.standing import standing
from tests.support.bulk import fill_server
from tests.support.postgres import PASSWORD, PostgresServer
from tests.support.waiting import until
from tests.unit.ledger import test_plans
from tests.unit.ledger.arrivals import an_arrival
from tests.unit.ledger.test_group_commit import note, together

EARLIER = Path(__file__).resolve().parents[1] / "support" / "ledgers"


@pytest.fixture(scope="module")
def mortal():
    """Return a server that tests may stop."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def place(mortal, tmp_path):
    return mortal.emptied(tmp_path)


@pytest.fixture
def ledger(place, monkeypatch):
    monkeypatch.setattr(postgres, "_IDLE_S", 0.0)  # whatever happens between two transactions, time has passed
    ledger = open_ledger(place, busy_s=10)
    yield ledger
    ledger.close()


def write(ledger, event="event"):
    with ledger.transaction() as connection:
        audit.note(connection, 0.0, event)


def events(place):
    trail = list(Overview(place).trail())
    assert verify(trail).problem is None
    return [record.event for record in trail]


def break_session(mortal):
    mortal.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
    until_nobody_writes(mortal)


def until_nobody_writes(mortal):
    """Wait until the server has noticed that a session ended, and let go of its lock."""
    held = "SELECT pid FROM pg_locks WHERE locktype = 'advisory'"
    until(lambda: not mortal.execute(held), 60, "the lock is free", every_s=0.02)


def test_a_restart_between_two_transactions_is_not_noticed(mortal, ledger, place):
    write(ledger, "before")
    mortal.stop()
    mortal.start()
    write(ledger, "after")
    assert events(place) == ["before", "after"]


def test_what_was_committed_is_there_after_a_crash_and_what_was_not_is_not(mortal, ledger, place):
    write(ledger, "before")

    def interrupted():
        with ledger.transaction() as connection:
            audit.note(connection, 0.0, "undone")
            mortal.crash()

    with pytest.raises(LedgerUnavailable):
        interrupted()
    for _ in range(3):  # each told at once, not after a time-out each
        begun = time.monotonic()
        with pytest.raises(LedgerUnavailable, match=r"the ledger's server .* cannot be used"):
            write(ledger, "while it is down")
        assert time.monotonic() - begun < 8
    with pytest.raises(LedgerError, match="cannot be used"):
        events(place)
    mortal.start()
    time.sleep(1.1)  # it is not asked again within a second
    write(ledger, "after")
    assert events(place) == ["before", "after"]


def test_a_connection_that_breaks_within_a_group_fails_for_the_one_that_breaks_it(mortal, ledger, place):
    def breaks(connection):
        audit.note(connection, 0.0, "undone")
        break_session(mortal)
        audit.note(connection, 0.0, "undone too")

    commits = GroupCommit(ledger)
    outcomes = together(commits, [note("one"), breaks, note("two")])
    assert [outcome if isinstance(outcome, str) else type(outcome) for outcome in outcomes] == [
        "one",
        LedgerUnavailable,
        "two",
    ]
    assert commits.run(note("three")) == "three"
    assert events(place) == ["first", "one", "two", "three"]


def test_a_second_node_is_kept_out_and_a_node_that_lost_the_lock_writes_no_more(mortal, ledger, place):
    with pytest.raises(LedgerUnavailable, match="another node writes the ledger"):
        open_ledger(place, busy_s=0)
    break_session(mortal)
    other = open_ledger(place, busy_s=60)
    write(other, "the heir's")
    with pytest.raises(LedgerUnavailable, match="another node writes the ledger"):
        write(ledger, "the zombie's")
    other.close()
    until_nobody_writes(mortal)
    write(ledger, "ours again")
    assert events(place) == ["the heir's", "ours again"]


def test_a_password_is_read_from_its_file_and_told_to_nobody(mortal, ledger, place, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    file = tmp_path / "password"
    file.write_text(f"{PASSWORD}\n")
    schema = mortal.schema(place)
    by_tcp = f"postgresql://node@127.0.0.1:{mortal.port}/postgres?options=-csearch_path%3D{schema}"
    with_password = replace(place, url=by_tcp, password_file=file)
    write(ledger)
    assert len(Overview(with_password).studies()) == 0
    ledger.close()
    owner = open_ledger(with_password)
    write(owner)
    file.write_text("wrong, and a secret all the same")
    break_session(mortal)
    with pytest.raises(LedgerUnavailable, match="password authentication failed") as wrong:
        write(owner)
    file.unlink()
    time.sleep(1.1)
    with pytest.raises(LedgerUnavailable, match="cannot be read") as missing:
        write(owner)
    owner.close()
    said = f"{wrong.value} {missing.value} {with_password} {caplog.text}"
    assert PASSWORD not in said
    assert "a secret all the same" not in said


def test_what_a_peer_may_put_into_text_is_kept_and_the_trail_stays_sound(ledger, place):
    arrival = an_arrival("1.2.3.4")
    hostile = replace(
        arrival, header=replace(arrival.header, modality="C\0R", series_instance_uid="1.2\0\ud7ff%s%(x)s")
    )
    with ledger.transaction() as connection:
        instances.record(connection, hostile, Quiet(10, 60), "bundle", 1.0)
        audit.note(connection, 2.0, "event", detail="a comment \0 of theirs", fact="\0")
    (row,) = Overview(place).instances()
    assert (row["modality"], row["series_instance_uid"]) == ("C\ufffdR", "1.2\ufffd\ud7ff%s%(x)s")
    assert events(place) == ["instance.stored", "event"]


def test_sizes_beyond_two_gib_and_times_to_the_last_digit_are_kept(ledger, place):
    at = 1764115200.123456789
    with ledger.transaction() as connection:
        instances.record(connection, replace(an_arrival("1.2.3.4"), size=4 << 30), Quiet(10, 60), "bundle", at)
    (row,) = Overview(place).instances()
    assert (row["size"], row["received_at"]) == (4 << 30, at)


def test_a_reader_cannot_write_and_sees_one_moment(ledger, place):
    with Overview(place).reading() as connection:
        before = connection.exec_driver_sql("SELECT count(*) FROM audit").scalar()
        write(ledger)
        assert connection.exec_driver_sql("SELECT count(*) FROM audit").scalar() == before
        with pytest.raises(Exception, match="read-only"):
            connection.exec_driver_sql("INSERT INTO schema_version VALUES (9)")


def test_durability_does_not_depend_on_the_servers_defaults(mortal, ledger):
    mortal.execute("ALTER ROLE node SET synchronous_commit = off")
    try:
        break_session(mortal)
        with ledger.transaction() as connection:
            assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"
    finally:
        mortal.execute("ALTER ROLE node RESET ALL")


def test_a_ledger_is_never_begun_beside_old_instances_nor_in_another_encoding(mortal, tmp_path):
    place = mortal.place(tmp_path)
    with pytest.raises(LedgerError, match="has not been started"):
        Overview(place).studies()
    (tmp_path / "instances" / "ab").mkdir(parents=True)
    (tmp_path / "instances" / "ab" / "abcd.dcm").write_bytes(b"kept")
    with pytest.raises(LedgerError, match="put a dump of the database back"):
        open_ledger(place)
    mortal.execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    latin = replace(place, url=place.url.replace("/postgres?", "/latin?"))
    with pytest.raises(LedgerError, match="ENCODING 'UTF8'"):
        open_ledger(latin)


#: So small in any ledger that reading all of it is the quickest way.
_SMALL = {"destination", "progress", "schema_version"}


def test_every_step_of_the_daily_work_finds_its_rows_by_an_index(mortal, tmp_path):
    place = mortal.place(tmp_path)
    fill_server(place, test_plans.STUDIES)
    ledger, seen = open_ledger(place), {}

    def explain(connection, _cursor, statement, parameters, _context, _many):
        if statement.split()[0] in {"SELECT", "UPDATE", "DELETE"}:
            plan = connection.connection.cursor().execute(f"EXPLAIN {statement}", parameters).fetchall()
            seen.setdefault(statement, [row[0] for row in plan])

    with ledger.transaction() as connection:
        assert commitments.adopt(connection, {"pacs": "auto"}, test_plans.NOW) == 0
    with ledger.transaction() as connection:
        connection.exec_driver_sql("SET enable_seqscan = off")  # what walks all the same has no index to go by
        event.listen(connection, "before_cursor_execute", explain)
        for step in test_plans.STEPS:
            step(connection)
    with Overview(place).reading() as connection:
        connection.exec_driver_sql("SET enable_seqscan = off")
        event.listen(connection, "before_cursor_execute", explain)
        standing(connection, ("pacs",))
        recent.latest_results(connection, 5)
    ledger.close()
    assert len(seen) > 40
    assert {statement: plan for statement, plan in seen.items() if any(map(_walks, plan))} == {}


def _walks(line):
    found = re.search(r"Seq Scan on (\w+)", line)
    return found is not None and found[1] not in _SMALL


def test_c54_another_schema_is_refused_or_taken_forward_at_once_or_not_at_all(mortal, tmp_path, monkeypatch):
    place, now = mortal.place(tmp_path), migrations.SCHEMA_VERSION
    open_ledger(place).close()
    monkeypatch.setattr(migrations, "SCHEMA_VERSION", now - 1)
    with pytest.raises(LedgerError, match=rf"schema {now}, this program .*your dump of the database"):
        open_ledger(place)

    def forward(connection):
        connection.exec_driver_sql("ALTER TABLE study ADD COLUMN later TEXT")
        if fails:
            raise KeyboardInterrupt

    def has_column():
        with Overview(place).reading() as connection:
            return "later" in connection.exec_driver_sql("SELECT * FROM study").keys()  # noqa: SIM118 - of a result

    monkeypatch.setattr(migrations, "SCHEMA_VERSION", now + 1)
    monkeypatch.setitem(migrations._STEPS, now, forward)
    fails = True
    with pytest.raises(KeyboardInterrupt):
        open_ledger(place)
    assert not has_column()
    fails = False
    open_ledger(place).close()
    assert has_column()
    assert Overview(place).schema_version() == now + 1


def test_c54_the_schema_that_was_taken_forward_is_the_one_that_is_made_new(mortal, tmp_path):
    old, new = mortal.place(tmp_path), mortal.place(tmp_path)
    mortal.execute(f"SET search_path = {mortal.schema(old)}; {(EARLIER / 'postgres-schema-3.sql').read_text()}")
    for place in (old, new):
        open_ledger(place).close()
    assert shape(old) == shape(new)
    assert shape(new)["study"]["study_instance_uid"][:2] == ("text", "C")


def shape(place):
    """Return each table's columns with their type, collation and nullability, and its indexes and constraints."""
    columns = "table_name, column_name, data_type, collation_name, is_nullable"
    columns = f"SELECT {columns} FROM information_schema.columns WHERE table_schema = current_schema()"  # noqa: S608
    indexes = "SELECT tablename, indexname, replace(indexdef, current_schema() || '.', '') FROM pg_indexes"
    constraints = "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
    found = {}
    with Overview(place).reading() as connection:
        for query in (
            columns,
            f"{indexes} WHERE schemaname = current_schema()",
            f"{constraints} WHERE connamespace = current_schema()::regnamespace",
        ):
            for table, name, *rest in connection.exec_driver_sql(query):
                found.setdefault(table, {})[name] = tuple(rest)
    return found
