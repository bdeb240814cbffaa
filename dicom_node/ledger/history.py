"""What happened, in order: the answer to "what did it do with study X"."""

from __future__ import annotations

from sqlalchemy import Connection, insert

from dicom_node.ledger.database import history
from dicom_node.ledger.prepared import Prepared

_NOTE = Prepared(insert(history))


def note(
    connection: Connection, at: float, event: str, *, study: str = "", sop_instance: str = "", detail: str = ""
) -> None:
    """Add one line of history; `detail` is a plain sentence without any attribute of the patient."""
    _NOTE.execute(
        connection, at=at, study_instance_uid=study, sop_instance_uid=sop_instance, event=event, detail=detail
    )
