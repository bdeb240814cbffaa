"""How things stand: what waits, since when, for whom, and what was answered last. Every question finds an index."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from dicom_node.ledger.database import delivery, history, instance, job, study, version
from dicom_node.ledger.waiting import PARKED_UNTIL

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Table

_LATEST = 5
_WAITING = ("ready", "leased", "sending")


def standing(connection: Connection, destinations: tuple[str, ...]) -> dict[str, Any]:
    """Return counts and ages (epoch seconds) of the queues, each destination's state, and the latest results."""
    return {
        "jobs": _queue(connection, job, job.c.id.is_not(None)),
        "destinations": {name: _destination(connection, name) for name in destinations},
        "latest": latest(connection),
    }


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
    return {**_queue(connection, delivery, mine), "last_error": connection.execute(trouble).scalar()}


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


def waiting_items(connection: Connection, limit: int, state: str = "ready") -> dict[str, list[dict[str, Any]]]:
    """Return the jobs and deliveries in a state, oldest first: ready (parked ones too) or dead."""
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
    return {
        "jobs": [_job(connection, dict(row)) for row in connection.execute(jobs).mappings().all()],
        "deliveries": [_delivery(dict(row)) for row in connection.execute(deliveries).mappings().all()],
    }


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
    """Return how often each kind of event happened since a time (epoch seconds)."""
    query = select(history.c.event, func.count().label("number")).where(history.c.at >= since)
    return {row.event: row.number for row in connection.execute(query.group_by(history.c.event))}
