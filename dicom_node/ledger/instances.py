"""Received instances: recorded once, with their role and reason."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, bindparam, insert, null, select, update

from dicom_node.core.study import InstanceHeader, Judgement, Quiet, Role
from dicom_node.ledger import audit, jobs
from dicom_node.ledger.database import instance, result_object, study
from dicom_node.ledger.prepared import Prepared

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


# Built once: the statements of the receive path cost more to build than to run.
_SAME_UID = Prepared(
    select(instance.c.id, instance.c.sha256, instance.c.is_current, instance.c.storage).where(
        instance.c.sop_instance_uid == bindparam("uid")
    )
)
_OWN = Prepared(select(result_object.c.version_id).where(result_object.c.sop_instance_uid == bindparam("uid")))
_STUDY = Prepared(select(study.c.id, study.c.first_unreported_at).where(study.c.study_instance_uid == bindparam("uid")))
_NEW_STUDY = Prepared(insert(study).returning(study.c.id))
_TOUCH = Prepared(update(study).where(study.c.id == bindparam("key")).values(last_received_at=bindparam("now")))
_REOPEN = Prepared(
    update(study)
    .where(study.c.id == bindparam("key"))
    .values(
        last_received_at=bindparam("now"),
        state=bindparam("state"),
        first_unreported_at=bindparam("first"),
        closes_at=bindparam("closes"),
        purged_at=null(),
    )
)
_NEW_INSTANCE = Prepared(insert(instance).returning(instance.c.id))


def is_known(connection: Connection, sop_instance_uid: str, sha256: str) -> bool:
    """Tell whether these very bytes were recorded before, and are still kept."""
    return any(_is_same(row, sha256) for row in _SAME_UID.rows(connection, uid=sop_instance_uid))


def is_own_result(connection: Connection, sop_instance_uid: str) -> bool:
    """Tell whether a UID is that of a result this node published."""
    return bool(_OWN.rows(connection, uid=sop_instance_uid))


def record(connection: Connection, arrival: Arrival, quiet: Quiet, bundle_sha256: str, now: float) -> Recorded:
    """Record an instance, open its study and, where it is a view, queue its analysis: one transaction of the caller."""
    header = arrival.header
    earlier = _SAME_UID.rows(connection, uid=header.sop_instance_uid)
    if any(_is_same(row, arrival.sha256) for row in earlier):
        return Recorded.DUPLICATE
    is_view = arrival.judgement.role is Role.VIEW
    study_id = _open_study(connection, header.study_instance_uid, quiet, now, is_view=is_view)
    replaced = [row.id for row in earlier if row.is_current and row.sha256 != arrival.sha256]
    known = next((int(row.id) for row in earlier if row.sha256 == arrival.sha256), None)
    if replaced:
        connection.execute(update(instance).where(instance.c.id.in_(replaced)).values(is_current=False))
    if known is None:
        instance_id = _insert(connection, arrival, study_id, now)
    else:
        # The same bytes come back after others had replaced them (A, B, A), or after they were purged here.
        values = {"is_current": True, "received_at": now, "study_id": study_id, "storage": "spool"}
        connection.execute(update(instance).where(instance.c.id == known).values(**values))
        instance_id = known
    was_lost = any(row.id == known and row.storage != "spool" for row in earlier)
    if is_view and was_lost:
        jobs.repeat_analysis(connection, instance_id, now)
    if is_view:
        jobs.enqueue_analysis(connection, instance_id, bundle_sha256, now, is_new=known is None)
    _note(connection, arrival, "instance.conflict" if replaced else "instance.stored", now)
    return Recorded.CONFLICT if replaced else Recorded.NEW


def _is_same(row: Any, sha256: str) -> bool:
    return bool(row.sha256 == sha256 and row.is_current and row.storage == "spool")


def _note(connection: Connection, arrival: Arrival, event: str, now: float) -> None:
    header, reason = arrival.header, arrival.judgement.reason
    audit.note(
        connection,
        now,
        event,
        study=header.study_instance_uid,
        sop_instance=header.sop_instance_uid,
        detail=reason.text if reason else arrival.judgement.role.value,
        sop_class=header.sop_class_uid,
        transfer_syntax=header.transfer_syntax_uid,
        sha256=arrival.sha256,
        size=arrival.size,
        calling_ae=arrival.calling_ae,
        patient=audit.pseudonym(connection, header.patient_id),
    )


def _insert(connection: Connection, arrival: Arrival, study_id: int, now: float) -> int:
    header, reason = arrival.header, arrival.judgement.reason
    values = {
        "study_id": study_id,
        "sop_instance_uid": header.sop_instance_uid,
        "sop_class_uid": header.sop_class_uid,
        "series_instance_uid": header.series_instance_uid,
        "transfer_syntax_uid": header.transfer_syntax_uid,
        "modality": header.modality,
        "sha256": arrival.sha256,
        "size": arrival.size,
        "spool_key": arrival.spool_key,
        "received_at": now,
        "calling_ae": arrival.calling_ae,
        "role": arrival.judgement.role.value,
        "reason_code": reason.code.value if reason else None,
        "reason_text": reason.text if reason else None,
        "is_current": True,
        "storage": "spool",
    }
    return int(_NEW_INSTANCE.rows(connection, **values)[0].id)


def _open_study(connection: Connection, uid: str, quiet: Quiet, now: float, *, is_view: bool) -> int:
    """Return the study's id, re-opened where a view arrived; what is no view never re-opens a reported study."""
    known = _STUDY.rows(connection, uid=uid)
    if not known:
        values = {
            "study_instance_uid": uid,
            "state": "open",
            "first_received_at": now,
            "last_received_at": now,
            "first_unreported_at": now if is_view else None,
            "closes_at": quiet.closes_at(now, now),
        }
        return int(_NEW_STUDY.rows(connection, **values)[0].id)
    row = known[0]
    if is_view:
        first = row.first_unreported_at if row.first_unreported_at is not None else now
        closes = quiet.closes_at(first, now)
        _REOPEN.rows(connection, key=row.id, now=now, state="open", first=first, closes=closes)
    else:
        _TOUCH.rows(connection, key=row.id, now=now)
    return int(row.id)
