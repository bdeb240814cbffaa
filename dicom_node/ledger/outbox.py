"""Deliveries: one queue a destination, a study's versions in order, retried from the row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import Connection, case, delete, exists, func, insert, select, update

from dicom_node.ledger import audit
from dicom_node.ledger.database import delivery, delivery_slot, study, version

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dicom_node.core.delivery import Backoff, SlotSent

#: The order of a queue: what may re-order a worklist goes before what does not.
_URGENCY = {"positive": 0, "inconclusive": 1, "not-analysed": 1}
_LEAST_URGENT = 2


@dataclass(frozen=True, slots=True)
class Due:
    """A delivery that is being attempted; the folder is relative to the state folder.

    interrupted: how often the connection was lost, or the destination asked to come back, in the middle of it.
    """

    delivery_id: int
    version_id: int
    version: int
    study_instance_uid: str
    destination: str
    folder: str
    folder_sha256: str
    attempts: int
    interrupted: int
    created_at: float


def take_due(connection: Connection, destination: str, now: float, limit: int = 1) -> tuple[Due, ...]:
    """Take the destination's next due deliveries; a later version of a study waits for the earlier one.

    Positive results first, then in the order in which they were queued. A delivery in whose middle the connection was
    lost goes last, so that one result which a destination cannot stomach holds up no other.
    """
    earlier = delivery.alias("earlier")
    blocked = exists().where(
        earlier.c.study_id == delivery.c.study_id,
        earlier.c.destination == destination,
        earlier.c.state.in_(("ready", "sending")),
        earlier.c.id < delivery.c.id,
    )
    suspect = case((delivery.c.interrupted > 0, delivery.c.run_after), else_=0.0)
    urgency = case(_URGENCY, value=version.c.outcome, else_=_LEAST_URGENT)
    query = (
        select(delivery, version.c.number, version.c.folder, version.c.folder_sha256, study.c.study_instance_uid)
        .join(version, version.c.id == delivery.c.version_id)
        .join(study, study.c.id == delivery.c.study_id)
        .where(
            delivery.c.destination == destination, delivery.c.state == "ready", delivery.c.run_after <= now, ~blocked
        )
        .order_by(suspect, urgency, delivery.c.id)
        .limit(limit)
    )
    rows = connection.execute(query).mappings().all()
    _set_state(connection, [row["id"] for row in rows], "sending")
    return tuple(
        Due(
            delivery_id=row["id"],
            version_id=row["version_id"],
            version=row["number"],
            study_instance_uid=row["study_instance_uid"],
            destination=destination,
            folder=row["folder"],
            folder_sha256=row["folder_sha256"],
            attempts=row["attempts"],
            interrupted=row["interrupted"],
            created_at=row["created_at"],
        )
        for row in rows
    )


def put_back(connection: Connection, dues: Sequence[Due]) -> None:
    """Return deliveries that were taken and not begun to the queue, as they were."""
    _set_state(connection, [due.delivery_id for due in dues], "ready")


def _set_state(connection: Connection, delivery_ids: list[int], state: str) -> None:
    if delivery_ids:
        connection.execute(update(delivery).where(delivery.c.id.in_(delivery_ids)).values(state=state))


def next_due(connection: Connection, destination: str) -> float | None:
    """Return when the destination's next delivery is due (epoch seconds), or None."""
    query = select(func.min(delivery.c.run_after)).where(
        delivery.c.destination == destination, delivery.c.state == "ready"
    )
    value = connection.execute(query).scalar()
    return None if value is None else float(value)


def succeed(connection: Connection, due: Due, slots: Sequence[SlotSent], now: float) -> None:
    """Note that the destination has stored the version, and which object of each slot."""
    connection.execute(
        update(delivery)
        .where(delivery.c.id == due.delivery_id)
        .values(state="done", done_at=now, attempts=due.attempts + 1, last_error=None)
    )
    _note_slots(connection, due, slots)
    _note(connection, due, now, "delivery.done", f"version {due.version} is at {due.destination}")


def postpone(connection: Connection, due: Due, error: str, backoff: Backoff, now: float, jitter: float) -> float | None:
    """Note an attempt that failed in the middle and return when the next one is, or None where it is given up."""
    again = backoff.next_attempt(due.interrupted + 1, now, due.created_at, jitter)
    if again is None:
        give_up(connection, due, (), error, now)
        return None
    _failed(connection, due, error, run_after=again, interrupted=due.interrupted + 1)
    return again


def not_begun(connection: Connection, due: Due, error: str) -> None:
    """Note an attempt that failed before anything was sent: it is the destination that has to wait, not the row."""
    _failed(connection, due, error)


def expire(connection: Connection, destination: str, error: str, created_before: float, now: float) -> int:
    """Give up the deliveries that have waited too long for a destination that is down; return how many."""
    query = select(delivery.c.id, study.c.study_instance_uid, version.c.number)
    query = query.join(study, study.c.id == delivery.c.study_id).join(version, version.c.id == delivery.c.version_id)
    ready = (delivery.c.destination == destination) & (delivery.c.state == "ready")
    rows = connection.execute(query.where(ready, delivery.c.created_at <= created_before)).all()
    for row in rows:
        values = {"state": "dead", "last_error": error}
        connection.execute(update(delivery).where(delivery.c.id == row.id).values(**values))
        detail = f"version {row.number} to {destination}: {error}"
        audit.note(connection, now, "delivery.dead", study=row.study_instance_uid, detail=detail)
    return len(rows)


def _failed(connection: Connection, due: Due, error: str, **values: float) -> None:
    attempt = {"state": "ready", "attempts": due.attempts + 1, "last_error": error}
    connection.execute(update(delivery).where(delivery.c.id == due.delivery_id).values(**attempt, **values))


def give_up(connection: Connection, due: Due, slots: Sequence[SlotSent], error: str, now: float) -> None:
    """Stop trying: the result stays here, listed, until a person sends it again."""
    connection.execute(
        update(delivery)
        .where(delivery.c.id == due.delivery_id)
        .values(state="dead", attempts=due.attempts + 1, last_error=error)
    )
    _note_slots(connection, due, slots)
    _note(connection, due, now, "delivery.dead", f"version {due.version} to {due.destination}: {error}")


def release_all(connection: Connection, destination: str = "") -> int:
    """Make interrupted deliveries, of one destination or of all, ready again: a re-send is the same objects."""
    interrupted = delivery.c.state == "sending"
    if destination:
        interrupted &= delivery.c.destination == destination
    return connection.execute(update(delivery).where(interrupted).values(state="ready")).rowcount


def revive(connection: Connection, study_instance_uid: str, now: float, destination: str = "") -> int:
    """Queue the given-up deliveries again, of one study and destination or (empty) of all; return how many."""
    wanted = select(study.c.id)
    if study_instance_uid:
        wanted = wanted.where(study.c.study_instance_uid == study_instance_uid)
    chosen = update(delivery).where(delivery.c.state == "dead", delivery.c.study_id.in_(wanted))
    if destination:
        chosen = chosen.where(delivery.c.destination == destination)
    fresh = {"state": "ready", "run_after": now, "created_at": now, "attempts": 0, "interrupted": 0}
    return connection.execute(chosen.values(**fresh)).rowcount


def _note_slots(connection: Connection, due: Due, slots: Sequence[SlotSent]) -> None:
    """Replace what is noted of a delivery's slots."""
    connection.execute(delete(delivery_slot).where(delivery_slot.c.delivery_id == due.delivery_id))
    rows = [
        {
            "delivery_id": due.delivery_id,
            "number": number,
            "slot": sent.slot,
            "position": sent.position,
            "status": sent.status,
            "note": sent.note,
        }
        for number, sent in enumerate(slots)
    ]
    if rows:
        connection.execute(insert(delivery_slot), rows)


def _note(connection: Connection, due: Due, now: float, event: str, detail: str) -> None:
    audit.note(
        connection,
        now,
        event,
        study=due.study_instance_uid,
        detail=detail,
        version=due.version,
        destination=due.destination,
        attempts=due.attempts + 1,
    )
