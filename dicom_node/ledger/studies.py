"""Closing studies and making versions of their results: always from rows, never from a timer in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, bindparam, exists, func, insert, select, update

from dicom_node.core.study import Role
from dicom_node.ledger import audit, jobs
from dicom_node.ledger.database import instance, job, study, version, version_instance
from dicom_node.ledger.prepared import Prepared

if TYPE_CHECKING:
    from collections.abc import Sequence

_BATCH = 100
_PUNCTUAL_S = 5.0
"""A study that is closed within so many seconds of its time was closed at its time; later, the node was not there."""
# Asked ten times a second while images arrive.
_DUE = Prepared(
    select(study.c.id, study.c.study_instance_uid, study.c.first_unreported_at, study.c.closes_at)
    .where(study.c.state == "open", study.c.closes_at <= bindparam("now"))
    .order_by(study.c.closes_at)
    .limit(_BATCH)
)
_NEXT = Prepared(
    select(func.min(study.c.closes_at).label("at")).where(
        study.c.state == "open", study.c.closes_at > bindparam("after")
    )
)
_WAITING = Prepared(select(version.c.id).where(version.c.state == "waiting").limit(1))


@dataclass(frozen=True, slots=True)
class Closed:
    """A study that was just closed; version is None where it holds no radiograph that is not yet reported."""

    study_instance_uid: str
    version: int | None
    views: int


def close_due(connection: Connection, bundle_sha256: str, now: float) -> list[Closed]:
    """Close every study whose time has come (at most 100 a call); its views are to be answered by this bundle."""
    return [_close(connection, row, bundle_sha256, now) for row in _DUE.rows(connection, now=now)]


def next_closing(connection: Connection, after: float = 0.0) -> float | None:
    """Return when the next open study is due (epoch seconds), of those that are after a time, or None."""
    value = _NEXT.rows(connection, after=after)[0].at
    return None if value is None else float(value)


def _close(connection: Connection, row: Any, bundle_sha256: str, now: float) -> Closed:
    study_id, uid = row.id, row.study_instance_uid
    connection.execute(update(study).where(study.c.id == study_id).values(state="closed", first_unreported_at=None))
    views = [] if row.first_unreported_at is None else _views(connection, study_id)
    if not views:  # none came, or what came was replaced by what is none, or belongs to another study now
        audit.note(connection, now, "study.closed", study=uid, detail="no radiograph in it: nothing to analyse")
        return Closed(uid, None, 0)
    closed_at = row.closes_at if now - row.closes_at < _PUNCTUAL_S else now
    version_id, number = _make_version(connection, study_id, closed_at)
    for instance_id in views:
        connection.execute(insert(version_instance).values(version_id=version_id, instance_id=instance_id))
        # An earlier bundle may have analysed some of the views; a result is one bundle's.
        jobs.enqueue_analysis(connection, instance_id, bundle_sha256, now)
    audit.note(connection, now, "study.closed", study=uid, detail=f"version {number} of {len(views)} radiographs")
    return Closed(uid, number, len(views))


def _make_version(connection: Connection, study_id: int, closed_at: float) -> tuple[int, int]:
    """Make the next version and return its id and number; one that was never published gives way to it."""
    earlier = _earlier(connection, study_id)
    for row in earlier:
        if row.state in {"waiting", "composing", "failed"}:
            connection.execute(update(version).where(version.c.id == row.id).values(state="superseded"))
            connection.execute(
                update(job)
                .where(job.c.version_id == row.id, job.c.state.in_(("ready", "leased", "dead")))
                .values(state="cancelled")
            )
    number, predecessor_id = _place(connection, study_id, earlier)
    key = connection.execute(
        insert(version).values(
            study_id=study_id,
            number=number,
            state="waiting",
            closed_at=closed_at,
            predecessor_id=predecessor_id,
        )
    ).inserted_primary_key
    assert key is not None  # noqa: S101 - an insert of one row always has its key
    return int(key[0]), number


def _earlier(connection: Connection, study_id: int) -> Sequence[Any]:
    query = select(version.c.id, version.c.number, version.c.state).where(version.c.study_id == study_id)
    return connection.execute(query.order_by(version.c.number.desc())).all()


def _place(connection: Connection, study_id: int, earlier: Sequence[Any]) -> tuple[int, int | None]:
    """Return the next version's number and the id of the published one that it replaces."""
    published = next((int(row.id) for row in earlier if row.state == "published"), None)
    number = earlier[0].number + 1 if earlier else 1
    return number, None if _has_purged(connection, study_id) else published


def _has_purged(connection: Connection, study_id: int) -> bool:
    """Tell whether views of a study are gone: a result without them must not replace the one that had them."""
    query = select(instance.c.id).where(instance.c.study_id == study_id, instance.c.storage == "purged").limit(1)
    return connection.execute(query).first() is not None


def _views(connection: Connection, study_id: int) -> list[int]:
    """Return every current view of a study: what the version to be made lists."""
    query = select(instance.c.id).where(
        instance.c.study_id == study_id,
        instance.c.role == Role.VIEW.value,
        instance.c.is_current,
        instance.c.storage != "purged",
    )
    return list(connection.execute(query).scalars())


@dataclass(frozen=True, slots=True)
class Foreseen:
    """The version that an open study will get at its time if nothing more arrives for it."""

    study_instance_uid: str
    number: int
    closed_at: float
    predecessor_id: int | None
    views: tuple[int, ...]


def foreseen(connection: Connection, now: float, until: float) -> list[Foreseen]:
    """Return the versions of the studies that are to close before a time, those whose views are all analysed."""
    rows = connection.execute(
        select(study)
        .where(study.c.state == "open", study.c.closes_at > now, study.c.closes_at <= until)
        .where(study.c.first_unreported_at.is_not(None))
        .order_by(study.c.closes_at)
        .limit(_BATCH)
    ).mappings()
    found = []
    for row in rows.all():
        views = _views(connection, row["id"])
        unfinished = select(job.c.id).where(job.c.instance_id.in_(views), job.c.state.in_(("ready", "leased")))
        if views and connection.execute(unfinished.limit(1)).first() is None:
            number, predecessor_id = _place(connection, row["id"], _earlier(connection, row["id"]))
            uid, closes_at = row["study_instance_uid"], row["closes_at"]
            found.append(Foreseen(uid, number, closes_at, predecessor_id, tuple(views)))
    return found


def promote_waiting(connection: Connection, now: float) -> list[int]:
    """Queue the composition of every version whose images are all analysed, or given up; return their ids."""
    if not _WAITING.rows(connection):
        return []
    # Said by what it is not: named states would lead SQLite by the index on them, through every job that is ready.
    unfinished = exists().where(
        version_instance.c.version_id == version.c.id,
        job.c.instance_id == version_instance.c.instance_id,
        job.c.state.not_in(jobs.OVER),
    )
    ready = connection.execute(select(version.c.id).where(version.c.state == "waiting", ~unfinished).limit(_BATCH))
    ids = [row.id for row in ready]
    for version_id in ids:
        connection.execute(update(version).where(version.c.id == version_id).values(state="composing"))
        jobs.enqueue_composition(connection, version_id, now)
    return ids


def queue_missing_analyses(connection: Connection, bundle_sha256: str, now: float) -> None:
    """Queue what waiting versions still need from this bundle: at start it may be another one."""
    rows = connection.execute(
        select(version_instance.c.instance_id)
        .join(version, version.c.id == version_instance.c.version_id)
        .where(version.c.state == "waiting")
        .distinct()
    )
    for row in rows.all():
        jobs.enqueue_analysis(connection, row.instance_id, bundle_sha256, now)


def recompose_unpublished(connection: Connection) -> None:
    """Make versions that were being composed wait again: at start the bundle may be another one."""
    rows = connection.execute(select(version.c.id).where(version.c.state == "composing")).all()
    for row in rows:
        connection.execute(update(version).where(version.c.id == row.id).values(state="waiting"))
        connection.execute(update(job).where(job.c.version_id == row.id).values(state="cancelled"))
