"""The administrator's desk: what is waiting, and what a person may do to the queues of a running node."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from dicom_node.ledger import audit
from dicom_node.ledger import waiting as queues
from dicom_node.services.noting import BY_HAND

if TYPE_CHECKING:
    from collections.abc import Callable

    from dicom_node.ledger.database import Database
    from dicom_node.services.asking import Answer
    from dicom_node.services.threads import Bell

log = structlog.get_logger(__name__)


def commands(
    ledger: Database, bell: Bell, clock: Callable[[], float], reopen: Callable[[str], tuple[str, ...]]
) -> dict[str, Callable[[Answer], Answer]]:
    """Return the commands on the queues; each takes {"study": a Study Instance UID, or empty for all}.

    "revive" takes {"destination": its name, or empty for all} as well. reopen: lets the destinations, or the one that
    is named, be asked now that are left alone after a failure, and returns the names of all of these.
    """

    def change(name: str, action: Callable[..., queues.Changed], request: Answer, *further: str) -> Answer:
        study = str(request.get("study", ""))
        with ledger.transaction() as connection:
            changed = action(connection, study, clock(), *further)
        asked = reopen(*further or ("",)) if name != "parked" and changed.deliveries else ()
        counts = {"jobs": changed.jobs, "deliveries": changed.deliveries}
        log.info("queue.changed", how=name, study=study or None, **counts, asked_now=asked or None)
        bell.ring()
        return {**counts, "asked_now": list(asked)}

    def note(request: Answer) -> Answer:
        event = str(request.get("event"))
        if event not in BY_HAND:
            return {"error": f"this node does not note {event!r}"}
        with ledger.transaction() as connection:
            audit.note(connection, clock(), event, detail=f"{request.get('detail', '')}, by hand")
        return {}

    return {
        "retry": lambda request: change("retried", queues.retry, request),
        "park": lambda request: change("parked", queues.park, request),
        "note": note,
        "revive": lambda request: change("revived", queues.revive, request, str(request.get("destination", ""))),
    }


def waiting(ledger: Database) -> str:
    """Return in words what is waiting."""
    with ledger.transaction() as connection:
        found = queues.count(connection)
    return f"waiting: {found.jobs} jobs, {found.deliveries} deliveries"
