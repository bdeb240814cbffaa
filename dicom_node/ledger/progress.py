"""How far slow walks have come: a number by name, so that a restart goes on where the last run was."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select, update

from dicom_node.ledger.database import progress


def read_progress(connection: Connection, name: str) -> int:
    """Return how far a walk has come; 0 where it never began."""
    found = connection.execute(select(progress.c.value).where(progress.c.name == name)).scalar()
    return int(found or 0)


def write_progress(connection: Connection, name: str, value: int) -> None:
    """Note how far a walk has come."""
    if not connection.execute(update(progress).where(progress.c.name == name).values(value=value)).rowcount:
        connection.execute(insert(progress).values(name=name, value=value))
