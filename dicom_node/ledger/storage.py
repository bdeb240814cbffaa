"""Where an instance's bytes are, row by row: what the slow walk over the spool asks and writes down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, select, update

from dicom_node.core.identifiers import SpoolKey
from dicom_node.ledger import audit
from dicom_node.ledger.database import instance, study

Loss = Literal["damaged", "missing"]


@dataclass(frozen=True, slots=True)
class Kept:
    """An instance in the spool, with what its file must hold."""

    instance_id: int
    study_instance_uid: str
    sop_instance_uid: str
    spool_key: SpoolKey
    sha256: str
    size: int


_KEPT = select(
    instance.c.id,
    study.c.study_instance_uid,
    instance.c.sop_instance_uid,
    instance.c.spool_key,
    instance.c.sha256,
    instance.c.size,
).join(study, study.c.id == instance.c.study_id)


def next_kept(connection: Connection, after: int) -> Kept | None:
    """Return the next instance in the spool after an id."""
    query = _KEPT.where(instance.c.id > after, instance.c.storage == "spool").order_by(instance.c.id).limit(1)
    row = connection.execute(query).first()
    return None if row is None else Kept(*row)


def storage_of(connection: Connection, prefix: str) -> dict[str, str]:
    """Return where the bytes of every instance are whose spool key begins with a folder's name."""
    first, behind = f"{prefix}/", f"{prefix}0"  # "0" comes right after "/"
    query = select(instance.c.spool_key, instance.c.storage)
    rows = connection.execute(query.where(instance.c.spool_key >= first, instance.c.spool_key < behind))
    return {row.spool_key: row.storage for row in rows}


def keys_of(connection: Connection, sop_instance_uid: str) -> set[SpoolKey]:
    """Return the spool keys of every instance under a UID whose bytes are kept, replaced ones among them."""
    kept = (instance.c.sop_instance_uid == sop_instance_uid) & (instance.c.storage == "spool")
    return {SpoolKey(key) for key in connection.execute(select(instance.c.spool_key).where(kept)).scalars()}


def note_loss(connection: Connection, instance_id: int, loss: Loss, now: float) -> bool:
    """Write down that an instance's bytes are no longer what was received; the same bytes may be sent again.

    False where the instance was purged meanwhile: then nothing was lost.
    """
    row = connection.execute(_KEPT.where(instance.c.id == instance_id)).one()
    kept = (instance.c.id == instance_id) & (instance.c.storage == "spool")
    if not connection.execute(update(instance).where(kept).values(storage=loss)).rowcount:
        return False
    text = "its file is not what was received: set aside" if loss == "damaged" else "its file is gone"
    audit.note(
        connection,
        now,
        "instance.damaged",
        study=row.study_instance_uid,
        sop_instance=row.sop_instance_uid,
        detail=text,
        sha256=row.sha256,
    )
    return True
