"""What is waiting, and a person's hand on it: try now, park, take up what was given up.

What is parked is ready, but not before the year 2100: so a study whose images are parked waits for them too.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Table, func, or_, select, update

from dicom_node.ledger import audit, commitments, outbox
from dicom_node.ledger.database import delivery, instance, job, study, version

PARKED_UNTIL = 4102444800.0


@dataclass(frozen=True, slots=True)
class Changed:
    """How many jobs and deliveries something applies to."""

    jobs: int
    deliveries: int


def count(connection: Connection) -> Changed:
    """Return how many jobs and deliveries are still to be done, without those that are parked."""
    return Changed(*(_count(connection, table) for table in (job, delivery)))


def retry(connection: Connection, study_instance_uid: str, now: float) -> Changed:
    """Make what waits for its next try, or is parked, due now: of one study or (empty UID) of all."""
    return _postpone(connection, study_instance_uid, now, ("queue.retried", now))


def park(connection: Connection, study_instance_uid: str, now: float) -> Changed:
    """Keep what waits from being tried, of one study or (empty UID) of all, until a person says "retry"."""
    return _postpone(connection, study_instance_uid, PARKED_UNTIL, ("queue.parked", now))


def _postpone(connection: Connection, uid: str, until: float, event: tuple[str, float]) -> Changed:
    jobs = update(job).where(job.c.state == "ready", _job_of(uid)).values(run_after=until)
    deliveries = update(delivery).where(delivery.c.state == "ready", _delivery_of(uid)).values(run_after=until)
    return _noted(connection, uid, Changed(*(connection.execute(one).rowcount for one in (jobs, deliveries))), event)


def revive(connection: Connection, study_instance_uid: str, now: float, destination: str = "") -> Changed:
    """Take up again what was given up, of one study or (empty UID) of all: deliveries, proofs, uncomposed results.

    A dead analysis is not: its study was answered, and lists that image as not analysed. With a destination, only the
    deliveries to it.
    """
    fresh = {"state": "ready", "run_after": now, "created_at": now, "attempts": 0}
    failed = select(version.c.id).where(version.c.state == "failed")
    jobs = update(job).where(job.c.state == "dead", job.c.version_id.in_(failed), _job_of(study_instance_uid))
    changed = Changed(
        0 if destination else connection.execute(jobs.values(crashes=0, **fresh)).rowcount,
        outbox.revive(connection, study_instance_uid, now, destination)
        + commitments.ask_anew(connection, study_instance_uid, now, destination),
    )
    running = select(job.c.version_id).where(job.c.state == "ready", job.c.version_id.is_not(None))
    again = update(version).where(version.c.state == "failed", version.c.id.in_(running))
    connection.execute(again.values(state="composing", reason_text=None))
    return _noted(connection, study_instance_uid, changed, ("queue.revived", now))


def _noted(connection: Connection, uid: str, changed: Changed, event: tuple[str, float]) -> Changed:
    name, at = event
    if changed.jobs or changed.deliveries:
        detail = f"{changed.jobs} jobs, {changed.deliveries} deliveries, by a person"
        audit.note(connection, at, name, study=uid, detail=detail)
    return changed


def _job_of(uid: str) -> ColumnElement[bool]:
    if not uid:
        return job.c.id.is_not(None)
    wanted = select(study.c.id).where(study.c.study_instance_uid == uid)
    images = select(instance.c.id).where(instance.c.study_id.in_(wanted))
    versions = select(version.c.id).where(version.c.study_id.in_(wanted))
    return or_(job.c.instance_id.in_(images), job.c.version_id.in_(versions))


def _delivery_of(uid: str) -> ColumnElement[bool]:
    if not uid:
        return delivery.c.id.is_not(None)
    return delivery.c.study_id.in_(select(study.c.id).where(study.c.study_instance_uid == uid))


def _count(connection: Connection, table: Table) -> int:
    waiting = table.c.state.in_(("ready", "leased", "sending")) & (table.c.run_after < PARKED_UNTIL)
    return int(connection.execute(select(func.count()).select_from(table).where(waiting)).scalar_one())
