"""How things stand: what waits, since when, for whom, and what was answered last. Every question finds an index."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import func, or_, select

from dicom_node.ledger.audit import audit
from dicom_node.ledger.database import delivery, destination, instance, job, study, version
from dicom_node.ledger.waiting import PARKED_UNTIL

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Table

_LATEST = 5
_MOST_EVENTS = 100_000
_WAITING = ("ready", "leased", "sending")
_LEFT: dict[str, Any] = {
    "failures": 0,
    "reached_at": None,
    "failed_at": None,
    "last_error": "no destination has this name any more: what waits is sent once one has it again",
}


def standing(connection: Connection, destinations: tuple[str, ...]) -> dict[str, Any]:
    """Return counts and ages (epoch seconds) of the queues, each destination's circuit, and the latest results.

    A destination that is configured no more stands there, too, for as long as something waits for it.
    """
    left = {name: _LEFT | _queue_of(connection, name) for name in _left(connection, destinations)}
    return {
        "jobs": _queue(connection, job, job.c.id.is_not(None)),
        "destinations": {name: _destination(connection, name) for name in destinations} | left,
        "latest": latest(connection),
    }


def _left(connection: Connection, destinations: tuple[str, ...]) -> list[str]:
    """Return the destinations that something waits for, and that are not among these."""
    waiting = delivery.c.state.in_(("ready", "sending")) & delivery.c.destination.not_in(destinations)
    return sorted(connection.execute(select(delivery.c.destination).where(waiting).distinct()).scalars())


def _queue_of(connection: Connection, name: str) -> dict[str, Any]:
    return _queue(connection, delivery, delivery.c.destination == name)


def _queue(connection: Connection, table: Table, which: ColumnElement[bool]) -> dict[str, Any]:
    """Return how many of a table's rows wait, since when the oldest does, how many are parked, and how many dead."""
    waiting = which & table.c.state.in_(_WAITING) & (table.c.run_after < PARKED_UNTIL)
    number, oldest = connection.execute(select(func.count(), func.min(table.c.created_at)).where(waiting)).one()
    parked = which & (table.c.state == "ready") & (table.c.run_after >= PARKED_UNTIL)
    return {
        "waiting": number,
        "oldest_at": oldest,
        "parked": connection.execute(select(func.count()).select_from(table).where(parked)).scalar_one(),
        "dead": connection.execute(
            select(func.count()).select_from(table).where(which, table.c.state == "dead")
        ).scalar_one(),
    }


def _destination(connection: Connection, name: str) -> dict[str, Any]:
    mine = delivery.c.destination == name
    trouble = (
        select(delivery.c.last_error)
        .where(mine, delivery.c.state.in_(("ready", "dead")), delivery.c.last_error.is_not(None))
        .order_by(delivery.c.run_after.desc())
        .limit(1)
    )
    columns = [destination.c[column] for column in ("failures", "reached_at", "failed_at", "last_error")]
    row = connection.execute(select(*columns).where(destination.c.name == name)).mappings().first()
    known = dict(row) if row else {"failures": 0, "reached_at": None, "failed_at": None, "last_error": None}
    known["last_error"] = known["last_error"] or connection.execute(trouble).scalar()
    return {**_queue_of(connection, name), **known}


def latest(connection: Connection, limit: int = _LATEST) -> list[dict[str, Any]]:
    """Return the results published last."""
    query = (
        select(
            study.c.study_instance_uid,
            version.c.number.label("version"),
            version.c.state,
            version.c.outcome,
            version.c.probability,
            version.c.reason_text,
            version.c.published_at,
        )
        .join(study, study.c.id == version.c.study_id)
        .order_by(version.c.id.desc())
        .limit(limit)
    )
    return [dict(row) for row in connection.execute(query).mappings()]


def waiting_items(
    connection: Connection, limit: int, state: str = "ready", study_uid: str = ""
) -> dict[str, list[dict[str, Any]]]:
    """Return the jobs and deliveries in a state, of one study or of all, oldest first: ready (parked too) or dead."""
    states = ("dead",) if state == "dead" else _WAITING
    jobs = select(job).where(job.c.state.in_(states)).order_by(job.c.id).limit(limit)
    deliveries = (
        select(delivery, study.c.study_instance_uid, version.c.number)
        .join(version, version.c.id == delivery.c.version_id)
        .join(study, study.c.id == delivery.c.study_id)
        .where(delivery.c.state.in_(states))
        .order_by(delivery.c.id)
        .limit(limit)
    )
    if study_uid:
        jobs = jobs.where(_of_study(study_uid))
        deliveries = deliveries.where(study.c.study_instance_uid == study_uid)
    return {
        "jobs": [_job(connection, dict(row)) for row in connection.execute(jobs).mappings().all()],
        "deliveries": [_delivery(dict(row)) for row in connection.execute(deliveries).mappings().all()],
    }


def _of_study(uid: str) -> ColumnElement[bool]:
    """Return what holds for the jobs of a study: those on its images, and those on its versions."""
    wanted = select(study.c.id).where(study.c.study_instance_uid == uid).scalar_subquery()
    images = select(instance.c.id).where(instance.c.study_id == wanted)
    versions = select(version.c.id).where(version.c.study_id == wanted)
    return or_(job.c.instance_id.in_(images), job.c.version_id.in_(versions))


def _job(connection: Connection, row: dict[str, Any]) -> dict[str, Any]:
    if row["version_id"] is not None:
        of = select(study.c.study_instance_uid).join(version, version.c.study_id == study.c.id)
        uid = connection.execute(of.where(version.c.id == row["version_id"])).scalar()
    else:
        of = select(study.c.study_instance_uid).join(instance, instance.c.study_id == study.c.id)
        uid = connection.execute(of.where(instance.c.id == row["instance_id"])).scalar()
    kept = {name: row[name] for name in ("kind", "state", "created_at", "attempts", "crashes", "last_error")}
    return {"study_instance_uid": uid, **kept, "parked": _is_parked(row)}


def _delivery(row: dict[str, Any]) -> dict[str, Any]:
    names = ("study_instance_uid", "destination", "state", "created_at", "run_after", "attempts", "last_error")
    return {"version": row["number"], **{name: row[name] for name in names}, "parked": _is_parked(row)}


def _is_parked(row: dict[str, Any]) -> bool:
    return bool(row["state"] == "ready" and row["run_after"] >= PARKED_UNTIL)


def event_counts(connection: Connection, since: float) -> dict[str, int]:
    """Return how often each kind of event happened since a time (epoch seconds), of the newest hundred thousand."""
    newest = select(func.max(audit.c.seq)).scalar_subquery()
    query = select(audit.c.event, func.count().label("number"))
    query = query.where(audit.c.seq > newest - _MOST_EVENTS, audit.c.at >= since)
    return {row.event: row.number for row in connection.execute(query.group_by(audit.c.event))}
