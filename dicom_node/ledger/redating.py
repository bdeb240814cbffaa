"""What waits moves along when the clock is set: it is due after as much time as before, and no sooner given up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, Connection, update

from dicom_node.ledger.database import commitment, delivery, job, study
from dicom_node.ledger.waiting import PARKED_UNTIL

if TYPE_CHECKING:
    from sqlalchemy import Table

LONGEST_WAIT_S = 86_400.0
"""No setting lets anything wait longer from now on: quiet period, longest wait and back-off are a day at most."""

_JOBS = job.c.state.in_(("ready", "leased"))
_DELIVERIES = delivery.c.state.in_(("ready", "sending"))
_PROOFS = commitment.c.state.in_(("waiting", "asked"))
_OPEN = study.c.state == "open"


def shift(connection: Connection, by: float) -> None:
    """Move every time that something waits for, or has waited since, by so many seconds.

    What is parked stays parked, and what is done keeps its date.
    """
    _move(connection, study, _OPEN, by, "closes_at", "first_unreported_at")
    _move(connection, commitment, _PROOFS, by, "run_after", "first_asked_at")
    _move(connection, job, _JOBS, by, "created_at", "lease_until")
    _move(connection, delivery, _DELIVERIES, by, "created_at")
    for table, which in ((job, _JOBS), (delivery, _DELIVERIES)):
        _move(connection, table, which & (table.c.run_after < PARKED_UNTIL), by, "run_after")


def hasten(connection: Connection, now: float) -> int:
    """Make due what waits for a time further ahead than anything may wait; returns how many rows."""
    beyond = now + LONGEST_WAIT_S
    late = _OPEN & (study.c.closes_at > beyond)
    count = connection.execute(update(study).where(late).values(closes_at=now)).rowcount
    for table, which in ((job, _JOBS), (delivery, _DELIVERIES), (commitment, _PROOFS)):
        due = which & (table.c.run_after > beyond) & (table.c.run_after < PARKED_UNTIL)
        count += connection.execute(update(table).where(due).values(run_after=now)).rowcount
    return count


def _move(connection: Connection, table: Table, which: ColumnElement[bool], by: float, *columns: str) -> None:
    values = {name: table.c[name] + by for name in columns}
    connection.execute(update(table).where(which).values(**values))
