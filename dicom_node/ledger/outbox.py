"""Deliveries: one queue a destination, a study's versions in order, retried from the row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import Connection, exists, func, select, update

from dicom_node.ledger import audit
from dicom_node.ledger.database import delivery, study, version

if TYPE_CHECKING:
    from dicom_node.core.delivery import Backoff


@dataclass(frozen=True, slots=True)
class Due:
    """A delivery that is being attempted; the folder is relative to the state folder."""

    delivery_id: int
    version_id: int
    version: int
    study_instance_uid: str
    destination: str
    folder: str
    attempts: int
    created_at: float


def take_due(connection: Connection, destination: str, now: float) -> Due | None:
    """Take the destination's next due delivery; a later version of a study waits for the earlier one."""
    earlier = delivery.alias("earlier")
    blocked = exists().where(
        earlier.c.study_id == delivery.c.study_id,
        earlier.c.destination == destination,
        earlier.c.state.in_(("ready", "sending")),
        earlier.c.id < delivery.c.id,
    )
    query = (
        select(delivery, version.c.number, version.c.folder, study.c.study_instance_uid)
        .join(version, version.c.id == delivery.c.version_id)
        .join(study, study.c.id == delivery.c.study_id)
        .where(
            delivery.c.destination == destination, delivery.c.state == "ready", delivery.c.run_after <= now, ~blocked
        )
        .order_by(delivery.c.run_after, delivery.c.id)
        .limit(1)
    )
    row = connection.execute(query).mappings().first()
    if row is None:
        return None
    connection.execute(update(delivery).where(delivery.c.id == row["id"]).values(state="sending"))
    return Due(
        delivery_id=row["id"],
        version_id=row["version_id"],
        version=row["number"],
        study_instance_uid=row["study_instance_uid"],
        destination=destination,
        folder=row["folder"],
        attempts=row["attempts"],
        created_at=row["created_at"],
    )


def next_due(connection: Connection, destination: str) -> float | None:
    """Return when the destination's next delivery is due (epoch seconds), or None."""
    query = select(func.min(delivery.c.run_after)).where(
        delivery.c.destination == destination, delivery.c.state == "ready"
    )
    value = connection.execute(query).scalar()
    return None if value is None else float(value)


def succeed(connection: Connection, due: Due, now: float) -> None:
    """Note that the destination has stored every object of the version."""
    connection.execute(
        update(delivery)
        .where(delivery.c.id == due.delivery_id)
        .values(state="done", done_at=now, attempts=due.attempts + 1, last_error=None)
    )
    _note(connection, due, now, "delivery.done", f"version {due.version} is at {due.destination}")


def postpone(connection: Connection, due: Due, error: str, backoff: Backoff, now: float, jitter: float) -> float | None:
    """Note a failed attempt and return when the next one is, or None where it is given up."""
    again = backoff.next_attempt(due.attempts + 1, now, due.created_at, jitter)
    if again is None:
        give_up(connection, due, error, now)
        return None
    connection.execute(
        update(delivery)
        .where(delivery.c.id == due.delivery_id)
        .values(state="ready", run_after=again, attempts=due.attempts + 1, last_error=error)
    )
    return again


def give_up(connection: Connection, due: Due, error: str, now: float) -> None:
    """Stop trying: the result stays here, listed, until a person sends it again."""
    connection.execute(
        update(delivery)
        .where(delivery.c.id == due.delivery_id)
        .values(state="dead", attempts=due.attempts + 1, last_error=error)
    )
    _note(connection, due, now, "delivery.dead", f"version {due.version} to {due.destination}: {error}")


def release_all(connection: Connection, destination: str = "") -> int:
    """Make interrupted deliveries, of one destination or of all, ready again: a re-send is the same objects."""
    interrupted = delivery.c.state == "sending"
    if destination:
        interrupted &= delivery.c.destination == destination
    return connection.execute(update(delivery).where(interrupted).values(state="ready")).rowcount


def revive(connection: Connection, study_instance_uid: str, now: float) -> int:
    """Queue the given-up deliveries again, of one study or (empty UID) of all; return how many."""
    wanted = select(study.c.id)
    if study_instance_uid:
        wanted = wanted.where(study.c.study_instance_uid == study_instance_uid)
    return connection.execute(
        update(delivery)
        .where(delivery.c.state == "dead", delivery.c.study_id.in_(wanted))
        .values(state="ready", run_after=now, created_at=now, attempts=0)
    ).rowcount


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
