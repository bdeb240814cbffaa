"""What a person does beside the node, in its audit trail: told to the running node, else written in its place."""

from __future__ import annotations

import fcntl
import os
import time
from typing import TYPE_CHECKING

from dicom_node.services.asking import NodeSilent, ask

if TYPE_CHECKING:
    from dicom_node.ledger.spool import StateFolders

#: What a command may have noted, and nothing else.
BY_HAND = ("backup.made", "bundle.switched")


def note_by_hand(folders: StateFolders, event: str, detail: str) -> bool:
    """Note in the audit trail what a command has done; false where there is no trail yet, or nobody may write it now.

    Only the node writes its ledger while it runs: it knows the end of the chain. `detail` names nothing of a patient.
    """
    try:
        return "error" not in ask(folders.control, "note", event=event, detail=detail)
    except NodeSilent:
        return folders.ledger.exists() and _written(folders, event, detail)


def _written(folders: StateFolders, event: str, detail: str) -> bool:
    """Write a record ourselves, holding the lock that a node would hold."""
    from dicom_node.ledger import audit  # noqa: PLC0415 - slow to import, and seldom needed
    from dicom_node.ledger.database import open_ledger  # noqa: PLC0415 - as above

    try:
        descriptor = os.open(folders.lock, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        ledger = open_ledger(folders.ledger)
        try:
            with ledger.transaction() as connection:
                audit.note(connection, time.time(), event, detail=f"{detail}, by hand")
        finally:
            ledger.close()
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
