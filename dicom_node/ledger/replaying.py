"""What a published result was made from, read from a ledger that another process may be writing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from dicom_node.core.identifiers import SpoolKey
from dicom_node.ledger.audit import Record, audit
from dicom_node.ledger.database import instance, result_object, study, version, version_instance

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from dicom_node.ledger.overview import Overview


@dataclass(frozen=True, slots=True)
class Input:
    """One view of a published version, and whether its bytes are still kept ("spool")."""

    sop_instance_uid: str
    sop_class_uid: str
    modality: str
    spool_key: SpoolKey
    sha256: str
    size: int
    storage: str


@dataclass(frozen=True, slots=True)
class PublishedVersion:
    """A published version as it can be made again; records: what the audit trail says of it, by event.

    predecessors: SOP Class, SOP Instance and Series Instance UID of each report that it replaced, one a class.
    """

    study_instance_uid: str
    number: int
    closed_at: float
    inputs: tuple[Input, ...]
    predecessors: tuple[tuple[str, str, str], ...]
    published: Record
    analysed: dict[str, Record]
    configured: Record | None


def published_version(overview: Overview, uid: str, number: int | None) -> PublishedVersion | None:
    """Return a study's published version, the newest where no number is given; None where there is none."""
    with overview.reading() as connection:
        query = (
            select(version.c.id, version.c.number, version.c.closed_at, version.c.predecessor_id)
            .join(study, study.c.id == version.c.study_id)
            .where(study.c.study_instance_uid == uid, version.c.state == "published")
            .order_by(version.c.number.desc())
        )
        row = next((r for r in connection.execute(query).all() if number in {None, r.number}), None)
        if row is None:
            return None
        trail = _records(connection, uid)
        published = next(
            (r for r in trail if r.event == "result.published" and r.details().get("version") == row.number), None
        )
        if published is None:
            return None
        return PublishedVersion(
            study_instance_uid=uid,
            number=row.number,
            closed_at=row.closed_at,
            inputs=_inputs(connection, row.id),
            predecessors=_reports(connection, row.predecessor_id),
            published=published,
            analysed={r.sop_instance_uid: r for r in trail if r.event == "image.analysed" and r.seq < published.seq},
            configured=_configured(connection, published.seq),
        )


def _records(connection: Connection, uid: str) -> list[Record]:
    query = select(audit).where(audit.c.study_instance_uid == uid).order_by(audit.c.seq)
    return [Record(*row) for row in connection.execute(query)]


def _configured(connection: Connection, before: int) -> Record | None:
    query = select(audit).where(audit.c.event == "configuration.changed", audit.c.seq < before)
    row = connection.execute(query.order_by(audit.c.seq.desc()).limit(1)).first()
    return None if row is None else Record(*row)


def _inputs(connection: Connection, version_id: int) -> tuple[Input, ...]:
    columns: list[Any] = [
        instance.c.sop_instance_uid,
        instance.c.sop_class_uid,
        instance.c.modality,
        instance.c.spool_key,
        instance.c.sha256,
        instance.c.size,
        instance.c.storage,
    ]
    rows = connection.execute(
        select(*columns)
        .join(version_instance, version_instance.c.instance_id == instance.c.id)
        .where(version_instance.c.version_id == version_id)
        .order_by(instance.c.received_at, instance.c.id)
    )
    return tuple(Input(*row) for row in rows)


def _reports(connection: Connection, version_id: int | None) -> tuple[tuple[str, str, str], ...]:
    query = select(
        result_object.c.sop_class_uid, result_object.c.sop_instance_uid, result_object.c.series_instance_uid
    ).where(result_object.c.version_id == version_id, result_object.c.slot == "sr")
    return tuple((row[0], row[1], row[2]) for row in connection.execute(query.order_by(result_object.c.position)))
