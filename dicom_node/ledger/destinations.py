"""What is remembered of each destination: what it accepted, when it was last reached, why it is not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, insert, update

from dicom_node.ledger.database import destination

if TYPE_CHECKING:
    from collections.abc import Iterable


def reached(connection: Connection, name: str, accepted: Iterable[tuple[str, str]], now: float) -> None:
    """Note that a destination could be reached, and which SOP classes in which transfer syntaxes it accepted."""
    contexts = json.dumps(sorted(accepted))
    _save(connection, name, {"accepted": contexts, "reached_at": now, "failures": 0, "last_error": None})


def failed(connection: Connection, name: str, error: str, failures: int, now: float) -> None:
    """Note that a destination failed so many times in a row, and why."""
    _save(connection, name, {"failed_at": now, "failures": failures, "last_error": error})


def _save(connection: Connection, name: str, values: dict[str, Any]) -> None:
    if not connection.execute(update(destination).where(destination.c.name == name).values(**values)).rowcount:
        connection.execute(insert(destination).values(name=name, **({"failures": 0} | values)))
