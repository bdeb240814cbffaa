"""The work queue: leased with a fence, answered by compare-and-set, given up after too many crashes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING

from sqlalchemy import Connection, RowMapping, bindparam, func, insert, select, update

from dicom_node.ledger.database import analysis, job
from dicom_node.ledger.prepared import Prepared

if TYPE_CHECKING:
    from dicom_node.core.delivery import Backoff

ANALYSE, COMPOSE = "analyse", "compose"
_FIRST, _SECOND = 0, 1  # a study that waits only for its report goes before new images
OVER = ("done", "dead", "cancelled")


@dataclass(frozen=True, slots=True)
class Lease:
    """A job that is being worked on; `fence` must come back with the answer."""

    job_id: int
    fence: int
    kind: str
    instance_id: int | None
    version_id: int | None
    crashes: int
    attempts: int
    created_at: float


_READY = {priority: (job.c.state == "ready") & (job.c.priority == priority) for priority in (_FIRST, _SECOND)}
_BY_KEY = Prepared(select(job.c.id, job.c.state).where(job.c.key == bindparam("key")))
_ANSWERED = Prepared(
    select(analysis.c.instance_id).where(
        analysis.c.instance_id == bindparam("instance"), analysis.c.bundle_sha256 == bindparam("bundle")
    )
)
_NEW = Prepared(insert(job))


def enqueue_analysis(
    connection: Connection, instance_id: int, bundle_sha256: str, now: float, *, is_new: bool = False
) -> None:
    """Queue the analysis of an image by a bundle, unless it is there already, which is_new rules out.

    A job that is over and left no answer of this bundle is queued anew: another one, to which somebody had switched
    meanwhile, has answered in its place.
    """
    key = f"{ANALYSE}:{instance_id}:{bundle_sha256}"
    known = [] if is_new else _BY_KEY.rows(connection, key=key)
    if not known:
        _enqueue(connection, ANALYSE, key, _SECOND, now, instance_id=instance_id)
    elif known[0].state in OVER and not _ANSWERED.rows(connection, instance=instance_id, bundle=bundle_sha256):
        fresh = {"state": "ready", "run_after": now, "created_at": now, "attempts": 0, "crashes": 0}
        connection.execute(update(job).where(job.c.id == known[0].id).values(**fresh))


def repeat_analysis(connection: Connection, instance_id: int, now: float) -> None:
    """Queue an image's analyses anew: what was kept of them went with its bytes."""
    connection.execute(
        update(job)
        .where(job.c.instance_id == instance_id, job.c.state.in_(("done", "dead")))
        .values(state="ready", run_after=now, created_at=now, attempts=0, crashes=0)
    )


def enqueue_composition(connection: Connection, version_id: int, now: float) -> None:
    """Queue the composition of a study's version; one that a restart had cancelled is taken up again."""
    key = f"{COMPOSE}:{version_id}"
    revived = connection.execute(
        update(job).where(job.c.key == key, job.c.state == "cancelled").values(state="ready", run_after=now)
    ).rowcount
    if not revived:
        _enqueue(connection, COMPOSE, key, _FIRST, now, version_id=version_id)


def _enqueue(  # noqa: PLR0913 - one row's columns
    connection: Connection,
    kind: str,
    key: str,
    priority: int,
    now: float,
    *,
    instance_id: int | None = None,
    version_id: int | None = None,
) -> None:
    values: dict[str, object] = {
        "kind": kind,
        "key": key,
        "instance_id": instance_id,
        "version_id": version_id,
        "state": "ready",
        "priority": priority,
        "fence": 0,
        "attempts": 0,
        "crashes": 0,
        "created_at": now,
        "run_after": now,
    }
    _NEW.rows(connection, **values)


def lease(connection: Connection, now: float, lease_s: float) -> Lease | None:
    """Lease the most urgent job that is due, or return None."""
    return _taken(connection, _first_due(connection, now), now + lease_s)


def lease_composition(connection: Connection, version_id: int, now: float, lease_s: float) -> Lease | None:
    """Lease the composition of a version, or return None where it is not waiting for anyone."""
    query = select(job).where(job.c.key == f"{COMPOSE}:{version_id}", job.c.state == "ready")
    return _taken(connection, connection.execute(query).mappings().first(), now + lease_s)


def _taken(connection: Connection, row: RowMapping | None, lease_until: float) -> Lease | None:
    if row is None:
        return None
    fence = row["fence"] + 1
    taken = connection.execute(
        update(job)
        .where(job.c.id == row["id"], job.c.state == "ready", job.c.fence == row["fence"])
        .values(state="leased", fence=fence, lease_until=lease_until)
    ).rowcount
    if not taken:
        return None
    return Lease(
        job_id=row["id"],
        fence=fence,
        kind=row["kind"],
        instance_id=row["instance_id"],
        version_id=row["version_id"],
        crashes=row["crashes"],
        attempts=row["attempts"],
        created_at=row["created_at"],
    )


def _first_due(connection: Connection, now: float) -> RowMapping | None:
    """Return the most urgent job that is due; asked by priority, so that an index ends where it is, whatever waits."""
    for priority in (_FIRST, _SECOND):
        due = _READY[priority] & (job.c.run_after <= now)
        row = connection.execute(select(job).where(due).order_by(job.c.run_after, job.c.id).limit(1)).mappings().first()
        if row is not None:
            return row
    return None


def next_due(connection: Connection) -> float | None:
    """Return when the next job that is ready may run (epoch seconds), or None."""
    earliest = (
        connection.execute(select(func.min(job.c.run_after)).where(_READY[priority])).scalar()
        for priority in (_FIRST, _SECOND)
    )
    return min((float(value) for value in earliest if value is not None), default=None)


def next_images(connection: Connection, now: float, most: int) -> list[int]:
    """Return the instances whose analyses would be leased next, in their order, up to one that ended a worker."""
    query = (
        select(job.c.instance_id, job.c.crashes)
        .where(_READY[_SECOND], job.c.run_after <= now)
        .order_by(job.c.run_after, job.c.id)
        .limit(most)
    )
    rows = takewhile(lambda row: not row.crashes, connection.execute(query))
    return [int(row.instance_id) for row in rows if row.instance_id is not None]


def _settle(connection: Connection, lease_: Lease, **values: object) -> bool:
    """Change a leased job, if the lease is still the one that was given."""
    changed = connection.execute(
        update(job)
        .where(job.c.id == lease_.job_id, job.c.fence == lease_.fence, job.c.state == "leased")
        .values(lease_until=None, **values)
    ).rowcount
    return changed == 1


def is_held(connection: Connection, lease_: Lease) -> bool:
    """Tell whether a lease still holds, so that its answer may be put in place."""
    held = (job.c.id == lease_.job_id) & (job.c.fence == lease_.fence) & (job.c.state == "leased")
    return connection.execute(select(job.c.id).where(held)).first() is not None


def complete(connection: Connection, lease_: Lease) -> bool:
    """Mark a job done; false where the lease was lost, so its result must be dropped."""
    return _settle(connection, lease_, state="done")


def fail(connection: Connection, lease_: Lease, error: str, backoff: Backoff, now: float, jitter: float) -> bool:
    """Note an error the worker reported and say when to try again; return true where the job is now dead."""
    again = backoff.next_attempt(lease_.attempts + 1, now, lease_.created_at, jitter)
    state = "dead" if again is None else "ready"
    run_after = now if again is None else again
    changed = _settle(
        connection, lease_, state=state, run_after=run_after, attempts=lease_.attempts + 1, last_error=error
    )
    return changed and again is None


def crash(connection: Connection, lease_: Lease, error: str, limit: int) -> bool:
    """Note that a lease ended without an answer; return true where the job is now dead."""
    crashes = lease_.crashes + 1
    state = "dead" if crashes >= limit else "ready"
    changed = _settle(connection, lease_, state=state, crashes=crashes, last_error=error)
    return changed and crashes >= limit


def release(connection: Connection, lease_: Lease) -> None:
    """Make a job ready again whose answer came and could not be written down."""
    _settle(connection, lease_, state="ready")


def release_stale(connection: Connection, before: float) -> int:
    """Make jobs ready again whose lease ended before a time without an answer: the ledger failed when it came."""
    stale = (job.c.state == "leased") & (job.c.lease_until < before)
    return connection.execute(
        update(job).where(stale).values(state="ready", fence=job.c.fence + 1, lease_until=None)
    ).rowcount


def release_all(connection: Connection) -> int:
    """Make every leased job ready again: the node restarts, so no answer to those leases can come any more."""
    return connection.execute(
        update(job).where(job.c.state == "leased").values(state="ready", fence=job.c.fence + 1, lease_until=None)
    ).rowcount
