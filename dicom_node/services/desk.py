"""The administrator's desk: what is waiting, and what a person may do to the queues of a running node."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from dicom_node.ledger import waiting as queues

if TYPE_CHECKING:
    from collections.abc import Callable

    from dicom_node.ledger.database import Database
    from dicom_node.services.asking import Answer
    from dicom_node.services.threads import Bell

log = structlog.get_logger(__name__)


def commands(ledger: Database, bell: Bell, clock: Callable[[], float]) -> dict[str, Callable[[Answer], Answer]]:
    """Return the commands on the queues; each takes {"study": a Study Instance UID, or empty for all}.

    "revive" takes {"destination": its name, or empty for all} as well.
    """

    def change(name: str, action: Callable[..., queues.Changed], request: Answer, *further: str) -> Answer:
        study = str(request.get("study", ""))
        with ledger.transaction() as connection:
            changed = action(connection, study, clock(), *further)
        log.info("queue.changed", how=name, study=study or None, jobs=changed.jobs, deliveries=changed.deliveries)
        bell.ring()
        return {"jobs": changed.jobs, "deliveries": changed.deliveries}

    return {
        "retry": lambda request: change("retried", queues.retry, request),
        "park": lambda request: change("parked", queues.park, request),
        "revive": lambda request: change("revived", queues.revive, request, str(request.get("destination", ""))),
    }


def waiting(ledger: Database) -> str:
    """Return in words what is waiting."""
    with ledger.transaction() as connection:
        found = queues.count(connection)
    return f"waiting: {found.jobs} jobs, {found.deliveries} deliveries"
