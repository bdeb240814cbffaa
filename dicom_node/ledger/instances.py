"""Received instances: recorded once, with their role and reason."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from sqlalchemy import Connection, insert, select, update

from dicom_node.core.study import InstanceHeader, Judgement, Quiet, Role
from dicom_node.ledger import history, jobs
from dicom_node.ledger.database import instance, result_object, study

if TYPE_CHECKING:
    from dicom_node.core.identifiers import SpoolKey


class Recorded(Enum):
    """What recording an instance came to."""

    NEW = "new"
    DUPLICATE = "duplicate"  # the same bytes under the same UID: nothing changes
    CONFLICT = "conflict"  # other bytes under a known UID: both are kept, the newer one counts


@dataclass(frozen=True, slots=True)
class Arrival:
    """A received instance as it is to be recorded."""

    header: InstanceHeader
    judgement: Judgement
    sha256: str
    size: int
    spool_key: SpoolKey
    calling_ae: str


def is_known(connection: Connection, sop_instance_uid: str, sha256: str) -> bool:
    """Tell whether these very bytes were recorded before."""
    query = select(instance.c.id).where(
        instance.c.sop_instance_uid == sop_instance_uid, instance.c.sha256 == sha256, instance.c.is_current
    )
    return connection.execute(query).first() is not None


def is_own_result(connection: Connection, sop_instance_uid: str) -> bool:
    """Tell whether a UID is that of a result this node published."""
    query = select(result_object.c.version_id).where(result_object.c.sop_instance_uid == sop_instance_uid)
    return connection.execute(query.limit(1)).first() is not None


def record(connection: Connection, arrival: Arrival, quiet: Quiet, bundle_sha256: str, now: float) -> Recorded:
    """Record an instance, open its study and, where it is a view, queue its analysis: one transaction of the caller."""
    header = arrival.header
    if is_known(connection, header.sop_instance_uid, arrival.sha256):
        return Recorded.DUPLICATE
    study_id = _open_study(connection, header.study_instance_uid, quiet, now, is_view=_is_view(arrival))
    replaced = connection.execute(
        update(instance)
        .where(instance.c.sop_instance_uid == header.sop_instance_uid, instance.c.is_current)
        .values(is_current=False)
    ).rowcount
    instance_id = _insert(connection, arrival, study_id, now)
    if _is_view(arrival):
        jobs.enqueue_analysis(connection, instance_id, bundle_sha256, now)
    reason = arrival.judgement.reason
    history.note(
        connection,
        now,
        "instance.conflict" if replaced else "instance.stored",
        study=header.study_instance_uid,
        sop_instance=header.sop_instance_uid,
        detail=reason.text if reason else arrival.judgement.role.value,
    )
    return Recorded.CONFLICT if replaced else Recorded.NEW


def _is_view(arrival: Arrival) -> bool:
    return arrival.judgement.role is Role.VIEW


def _insert(connection: Connection, arrival: Arrival, study_id: int, now: float) -> int:
    header, reason = arrival.header, arrival.judgement.reason
    # The same bytes may come back after other bytes had replaced them (A, B, A): the old row is made current again.
    known = connection.execute(
        select(instance.c.id).where(
            instance.c.sop_instance_uid == header.sop_instance_uid, instance.c.sha256 == arrival.sha256
        )
    ).scalar()
    if known is not None:
        connection.execute(
            update(instance).where(instance.c.id == known).values(is_current=True, received_at=now, study_id=study_id)
        )
        return int(known)
    row = connection.execute(
        insert(instance).values(
            study_id=study_id,
            sop_instance_uid=header.sop_instance_uid,
            sop_class_uid=header.sop_class_uid,
            series_instance_uid=header.series_instance_uid,
            transfer_syntax_uid=header.transfer_syntax_uid,
            modality=header.modality,
            sha256=arrival.sha256,
            size=arrival.size,
            spool_key=arrival.spool_key,
            received_at=now,
            calling_ae=arrival.calling_ae,
            role=arrival.judgement.role.value,
            reason_code=reason.code.value if reason else None,
            reason_text=reason.text if reason else None,
            is_current=True,
        )
    ).inserted_primary_key
    assert row is not None  # noqa: S101 - an insert of one row always has its key
    return int(row[0])


def _open_study(connection: Connection, uid: str, quiet: Quiet, now: float, *, is_view: bool) -> int:
    """Return the study's id, re-opened where a view arrived; what is no view never re-opens a reported study."""
    row = connection.execute(select(study).where(study.c.study_instance_uid == uid)).mappings().first()
    if row is None:
        key = connection.execute(
            insert(study).values(
                study_instance_uid=uid,
                state="open",
                first_received_at=now,
                last_received_at=now,
                first_unreported_at=now if is_view else None,
                closes_at=quiet.closes_at(now, now),
            )
        ).inserted_primary_key
        assert key is not None  # noqa: S101 - an insert of one row always has its key
        return int(key[0])
    changes: dict[str, object] = {"last_received_at": now}
    if is_view:
        first = row["first_unreported_at"] if row["first_unreported_at"] is not None else now
        changes |= {"state": "open", "first_unreported_at": first, "closes_at": quiet.closes_at(first, now)}
    connection.execute(update(study).where(study.c.id == row["id"]).values(**changes))
    return int(row["id"])
