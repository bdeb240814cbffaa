"""Received instances: recorded once, with their role and reason."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from sqlalchemy import Connection, bindparam, insert, select, update

from dicom_node.core.study import InstanceHeader, Judgement, Quiet, Role
from dicom_node.ledger import history, jobs
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


_BY_UID = Prepared(
    select(instance.c.id, instance.c.sha256, instance.c.is_current).where(
        instance.c.sop_instance_uid == bindparam("uid")
    )
)
_OWN = Prepared(select(result_object.c.version_id).where(result_object.c.sop_instance_uid == bindparam("uid")))
_STUDY = Prepared(select(study.c.id, study.c.first_unreported_at).where(study.c.study_instance_uid == bindparam("uid")))
_NEW_STUDY = Prepared(insert(study).returning(study.c.id))
_TOUCH_STUDY = Prepared(update(study).where(study.c.id == bindparam("key")).values(last_received_at=bindparam("now")))
_REOPEN_STUDY = Prepared(
    update(study)
    .where(study.c.id == bindparam("key"))
    .values(
        last_received_at=bindparam("now"),
        state=bindparam("state"),
        first_unreported_at=bindparam("first"),
        closes_at=bindparam("due"),
    )
)
_NEW_INSTANCE = Prepared(insert(instance).returning(instance.c.id))


def is_known(connection: Connection, sop_instance_uid: str, sha256: str) -> bool:
    """Tell whether these very bytes were recorded before."""
    rows = _BY_UID.execute(connection, uid=sop_instance_uid)
    return any(row.sha256 == sha256 and row.is_current for row in rows)


def is_own_result(connection: Connection, sop_instance_uid: str) -> bool:
    """Tell whether a UID is that of a result this node published."""
    return _OWN.execute(connection, uid=sop_instance_uid).first() is not None


def record(connection: Connection, arrival: Arrival, quiet: Quiet, bundle_sha256: str, now: float) -> Recorded:
    """Record an instance, open its study and, where it is a view, queue its analysis: one transaction of the caller."""
    header = arrival.header
    known = {row.sha256: row for row in _BY_UID.execute(connection, uid=header.sop_instance_uid)}
    same = known.get(arrival.sha256)
    if same is not None and same.is_current:
        return Recorded.DUPLICATE
    study_id = _open_study(connection, header.study_instance_uid, quiet, now, is_view=_is_view(arrival))
    replaced = any(row.is_current for row in known.values())
    if replaced:
        current = (instance.c.sop_instance_uid == header.sop_instance_uid) & instance.c.is_current
        connection.execute(update(instance).where(current).values(is_current=False))
    if same is None:
        instance_id = _insert(connection, arrival, study_id, now)
    else:
        # The same bytes came back after other bytes had replaced them (A, B, A): the old row is made current again.
        instance_id = int(same.id)
        again = update(instance).where(instance.c.id == instance_id)
        connection.execute(again.values(is_current=True, received_at=now, study_id=study_id))
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
    }
    return int(_NEW_INSTANCE.execute(connection, **values).scalar_one())


def _open_study(connection: Connection, uid: str, quiet: Quiet, now: float, *, is_view: bool) -> int:
    """Return the study's id, re-opened where a view arrived; what is no view never re-opens a reported study."""
    row = _STUDY.execute(connection, uid=uid).first()
    if row is None:
        values = {
            "study_instance_uid": uid,
            "state": "open",
            "first_received_at": now,
            "last_received_at": now,
            "first_unreported_at": now if is_view else None,
            "closes_at": quiet.closes_at(now, now),
        }
        return int(_NEW_STUDY.execute(connection, **values).scalar_one())
    if is_view:
        first = row.first_unreported_at if row.first_unreported_at is not None else now
        due = quiet.closes_at(first, now)
        _REOPEN_STUDY.execute(connection, key=row.id, now=now, state="open", first=first, due=due)
    else:
        _TOUCH_STUDY.execute(connection, key=row.id, now=now)
    return int(row.id)
