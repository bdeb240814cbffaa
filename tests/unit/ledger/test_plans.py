"""The cost of a step does not grow with the years: no statement of the daily work walks over a table."""

from __future__ import annotations

from unittest.mock import ANY

import pytest
from sqlalchemy import event

from dicom_node.core.delivery import Backoff, SlotSent
from dicom_node.core.identifiers import new_uid
from dicom_node.core.study import Quiet
from dicom_node.ledger import audit, commitments, instances, jobs, outbox, purging, results, standing, storage, studies
from dicom_node.ledger.database import open_ledger
from dicom_node.ledger.overview import Overview
from tests.support.bulk import fill
from tests.unit.ledger.arrivals import an_arrival

STUDIES = 10_000  # 100,000 rows in all tables together
NOW = 1e6
MOST_WORK = 10_000  # of SQLite's own instructions for a whole step; a walk over a large table takes six times as many
QUIET = Quiet(10.0, 60.0)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("plans") / "ledger.sqlite"
    fill(path, STUDIES)
    ledger = open_ledger(path)
    with ledger.transaction() as connection:
        assert commitments.adopt(connection, {"pacs": "auto"}, NOW) == 0
    ledger.close()
    return path


def _receive(connection):
    assert not instances.is_known(connection, "1.9.1", "digest")
    assert not instances.is_own_result(connection, "1.9.1")
    for uid in ("1.9.1", "1.9.2"):
        instances.record(connection, an_arrival(uid, study="1.9"), QUIET, "bundle", NOW)
    instances.record(connection, an_arrival("1.9.1", study="1.9", content="other"), QUIET, "bundle", NOW)


def _close(connection):
    studies.close_due(connection, "bundle", NOW + 100)
    studies.next_closing(connection)
    studies.promote_waiting(connection, NOW)


def _work(connection):
    jobs.release_stale(connection, NOW)
    jobs.next_due(connection)
    while (lease := jobs.lease(connection, NOW + 100, 60.0)) is not None:
        assert jobs.is_held(connection, lease)
        jobs.complete(connection, lease)
        if lease.instance_id is not None:
            results.image(connection, lease.instance_id)
            results.save_analysis(connection, results.Analysed(lease.instance_id, "bundle", "{}", None, None), NOW)
            studies.promote_waiting(connection, NOW)
        else:
            results.to_compose(connection, lease.version_id, "bundle")
            report = ("sr", "sr", "1.2.840.10008.5.1.4.1.1.88.34", "1.9.5", "1.9.4", "1.2.840.10008.1.2.1", "sr.dcm")
            objects = (results.ReportObject(*report),)
            found = results.Published("negative", 0.1, None, None, "bundle", "results/x", "digest", objects)
            results.publish(connection, lease.version_id, found, ("pacs",), NOW)


def _deliver(connection):
    outbox.next_due(connection, "pacs")
    (due,) = outbox.take_due(connection, "pacs", NOW + 100)
    results.objects(connection, due.version_id)
    outbox.postpone(connection, due, "later", Backoff(1.0, 2.0, 1e9), NOW, 0.5)
    (due,) = outbox.take_due(connection, "pacs", NOW + 200)
    outbox.succeed(connection, due, (SlotSent("sr", 0, 0, ""),), NOW)
    commitments.begin(connection, due.delivery_id, "pacs", "auto", NOW)


def _confirm(connection):
    commitments.adopt(connection, {"pacs": "auto"}, NOW)
    commitments.next_due(connection, "pacs")
    (claim,), _ = commitments.take_due(connection, "pacs", NOW, 1, new_uid, Backoff(60.0, 3600.0, 1e9))
    commitments.asked(connection, claim, NOW)
    assert commitments.claim_of(connection, claim.transaction_uid) == (claim, True)
    uid = claim.stored[0].sop_instance_uid
    assert commitments.report(connection, claim, frozenset(), {uid: 0x0112}, NOW) == (False, {uid: 0x0112})
    commitments.lacks(connection, claim, {uid: 0x0112}, NOW, 60.0)
    commitments.ask_anew(connection, "1.2.5", NOW)


def _purge(connection):
    ids, _ = purging.due(connection, 0, lambda at: at < 100.0, 200)
    assert len(ids) == 99, "and the plan is that of a query that finds something"
    assert purging.is_due(connection, ids[0], lambda at: at < 100.0)
    held = purging.holdings(connection, ids[0])
    assert len(held.spool_keys) == 2
    purging.note_purged(connection, held, NOW, "test")
    purging.answered(connection, "1.2.5")


def _scrub(connection):
    assert storage.next_kept(connection, STUDIES) is not None
    assert len(storage.storage_of(connection, "ab")) > 50
    storage.note_loss(connection, 500, "missing", NOW)


def _recover(connection):
    jobs.release_all(connection)
    outbox.release_all(connection)
    studies.recompose_unpublished(connection)
    studies.queue_missing_analyses(connection, "bundle", NOW)


def _audit(connection):
    audit.after(connection, 100, 10)
    audit.last(connection, "node.started")


STEPS = (_receive, _close, _work, _deliver, _confirm, _purge, _scrub, _recover, _audit)


def _instructions(connection, step):
    """Return how many instructions of its virtual machine SQLite needs for a step: the same number every time."""
    count = [0]

    def more():
        count[0] += 100

    driver = connection.connection.dbapi_connection
    driver.set_progress_handler(more, 100)
    try:
        step(connection)
    finally:
        driver.set_progress_handler(None, 0)
    return count[0]


def _plan(connection, statement, parameters):
    return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall()]


def _walks(step):
    """Tell whether a line of a plan walks over a whole table or index, or sorts what it found."""
    return step.startswith("SCAN") and "CONSTANT ROW" not in step and "SUBQUERY" not in step


def test_every_step_of_the_daily_work_finds_its_rows_by_an_index(path):
    ledger = open_ledger(path)
    seen: dict[str, list[str]] = {}

    def explain(_connection, cursor, statement, parameters, _context, _many):
        if statement.split()[0] in {"SELECT", "UPDATE", "DELETE"}:
            seen.setdefault(statement, _plan(cursor.connection, statement, parameters))

    work: dict[str, int] = {}
    with ledger.transaction() as connection:
        for step in STEPS:
            work[step.__name__] = _instructions(connection, step)
        connection.rollback()
    with ledger.transaction() as connection:
        event.listen(connection, "before_cursor_execute", explain)
        for step in STEPS:
            step(connection)
    ledger.close()
    assert {name: count for name, count in work.items() if count > MOST_WORK} == {}
    assert len(seen) > 40
    assert {statement: plan for statement, plan in seen.items() if any(map(_walks, plan))} == {}


def _claim(connection):
    lease = jobs.lease(connection, NOW, 60.0)
    assert lease is not None
    assert jobs.is_held(connection, lease)
    jobs.next_due(connection)
    jobs.complete(connection, lease)
    found = results.Analysed(lease.instance_id, "bundle", "{}", None, None)
    results.save_analysis(connection, found, NOW)


def _look_at_what_waits(connection):
    studies.close_due(connection, "bundle", NOW)
    assert studies.promote_waiting(connection, NOW)
    assert outbox.take_due(connection, "pacs", NOW, 20)
    assert standing.standing(connection, ("pacs",))["jobs"]["waiting"]


def _work_with(folder, waiting):
    """Return what each step costs, in instructions, while so many studies wait for the worker, and for the PACS."""
    path = folder / f"{waiting}.sqlite"
    fill(path, 100, unanalysed=waiting, undelivered=waiting)
    ledger = open_ledger(path)
    with ledger.transaction() as connection:
        # One study is ready for its result: nobody has to look long for it, but has to look at all that are not.
        jobs.complete(connection, jobs.lease(connection, NOW, 60.0))
        jobs.complete(connection, jobs.lease(connection, NOW, 60.0))
        steps = (_receive, _claim, _look_at_what_waits)
        work = {step.__name__: _instructions(connection, step) for step in steps}
    ledger.close()
    return work


def test_after_a_long_outage_a_step_costs_at_most_by_what_waits(tmp_path):
    few, many = _work_with(tmp_path, 150), _work_with(tmp_path, 1500)
    assert {name: count for name, count in many.items() if count > MOST_WORK} == {"_look_at_what_waits": ANY}
    assert many["_look_at_what_waits"] < 15 * few["_look_at_what_waits"], "by ten, not by its square"


def test_what_is_listed_for_a_person_finds_its_rows_by_an_index(path):
    overview, seen = Overview(path), {}

    def explain(_connection, cursor, statement, parameters, _context, _many):
        seen.setdefault(statement, _plan(cursor.connection, statement, parameters))

    event.listen(overview._engine, "before_cursor_execute", explain)
    assert len(overview.studies(limit=5)) == 5
    assert overview.study("1.2.77") is not None
    assert len(list(overview.trail("1.2.77"))) == 2
    assert len(list(overview.trail(newest=5))) == 5
    walks = {statement: plan for statement, plan in seen.items() if any(map(_walks, plan))}
    newest = [plan for statement, plan in walks.items() if "LIMIT" in statement]
    assert len(newest) == len(walks), walks
    assert all("B-TREE FOR ORDER BY" not in line for plan in newest for line in plan)
