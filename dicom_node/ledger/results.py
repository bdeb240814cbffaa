"""Answers: what was found in each image, and the published version of each study."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, insert, select, update

from dicom_node.core.identifiers import SpoolKey
from dicom_node.ledger import audit, studies
from dicom_node.ledger.database import (
    analysis,
    delivery,
    instance,
    result_object,
    study,
    version,
    version_instance,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Analysed:
    """What a bundle said about an image: the finding as JSON, and the folder with its maps (relative), if any."""

    instance_id: int
    bundle_sha256: str
    finding: str
    folder: str | None
    folder_sha256: str | None
    facts: Mapping[str, Any] = field(default_factory=dict)  # for the audit trail, besides what is named above


@dataclass(frozen=True, slots=True)
class ImageToAnalyse:
    """What the worker needs to know of an image."""

    instance_id: int
    study_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    modality: str
    spool_key: SpoolKey
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class AnalysedView:
    """One view of a version's manifest with its answer."""

    sop_class_uid: str
    sop_instance_uid: str
    spool_key: SpoolKey
    finding: str
    folder: str | None
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class VersionToCompose:
    """What the worker needs to know of a study's version."""

    study_instance_uid: str
    number: int
    closed_at: float
    views: tuple[AnalysedView, ...]
    predecessors: tuple[ReportObject, ...]


@dataclass(frozen=True, slots=True)
class ReportObject:
    """One SOP instance of a published result, in sending order; those of one slot are alternatives, best first."""

    kind: str
    slot: str
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    transfer_syntax_uid: str
    file: str


@dataclass(frozen=True, slots=True)
class Published:
    """A composed version as it is to be published; the folder is relative to the state folder."""

    outcome: str
    probability: float | None
    reason_code: str | None
    reason_text: str | None
    bundle_sha256: str
    folder: str
    folder_sha256: str
    objects: tuple[ReportObject, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)  # for the audit trail, besides what is named above


def image(connection: Connection, instance_id: int) -> ImageToAnalyse:
    """Return what the worker needs to know of an image."""
    row = (
        connection.execute(
            select(instance, study.c.study_instance_uid)
            .join(study, study.c.id == instance.c.study_id)
            .where(instance.c.id == instance_id)
        )
        .mappings()
        .one()
    )
    return ImageToAnalyse(
        instance_id=instance_id,
        study_instance_uid=row["study_instance_uid"],
        sop_instance_uid=row["sop_instance_uid"],
        sop_class_uid=row["sop_class_uid"],
        modality=row["modality"],
        spool_key=SpoolKey(row["spool_key"]),
        sha256=row["sha256"],
        size=row["size"],
    )


def images_of(connection: Connection, version_id: int) -> list[ImageToAnalyse]:
    """Return the images that a version lists."""
    listed = select(version_instance.c.instance_id).where(version_instance.c.version_id == version_id)
    return [image(connection, instance_id) for instance_id in connection.execute(listed).scalars().all()]


def save_analysis(connection: Connection, analysed: Analysed, now: float) -> None:
    """Keep what was found in an image; the same bundle's later answer replaces its earlier one."""
    key = (analysis.c.instance_id == analysed.instance_id) & (analysis.c.bundle_sha256 == analysed.bundle_sha256)
    values: dict[str, Any] = {
        "finding": analysed.finding,
        "folder": analysed.folder,
        "folder_sha256": analysed.folder_sha256,
        "made_at": now,
    }
    if not connection.execute(update(analysis).where(key).values(**values)).rowcount:
        connection.execute(
            insert(analysis).values(instance_id=analysed.instance_id, bundle_sha256=analysed.bundle_sha256, **values)
        )
    row = connection.execute(
        select(study.c.study_instance_uid, instance.c.sop_instance_uid, instance.c.sha256)
        .join(study, study.c.id == instance.c.study_id)
        .where(instance.c.id == analysed.instance_id)
    ).one()
    audit.note(
        connection,
        now,
        "image.analysed",
        study=row.study_instance_uid,
        sop_instance=row.sop_instance_uid,
        input_sha256=row.sha256,
        bundle_sha256=analysed.bundle_sha256,
        folder_sha256=analysed.folder_sha256,
        **analysed.facts,
    )


def to_compose(connection: Connection, version_id: int, bundle_sha256: str) -> VersionToCompose:
    """Return a version's manifest with the bundle's answer for each view, in the order in which they came."""
    row = (
        connection.execute(
            select(version, study.c.study_instance_uid)
            .join(study, study.c.id == version.c.study_id)
            .where(version.c.id == version_id)
        )
        .mappings()
        .one()
    )
    listed = select(version_instance.c.instance_id).where(version_instance.c.version_id == version_id)
    return VersionToCompose(
        study_instance_uid=row["study_instance_uid"],
        number=row["number"],
        closed_at=row["closed_at"],
        views=_analysed_views(connection, listed, bundle_sha256),
        predecessors=_reports_of(connection, row["predecessor_id"]),
    )


def to_compose_ahead(connection: Connection, bundle_sha256: str, now: float, until: float) -> list[VersionToCompose]:
    """Return the same of the versions that studies will get before a time, those whose views are all analysed."""
    found = []
    for foreseen in studies.foreseen(connection, now, until):
        views = _analysed_views(connection, foreseen.views, bundle_sha256)
        if len(views) == len(foreseen.views):  # else an earlier bundle answered some
            place = (foreseen.study_instance_uid, foreseen.number, foreseen.closed_at)
            found.append(VersionToCompose(*place, views, _reports_of(connection, foreseen.predecessor_id)))
    return found


def _analysed_views(connection: Connection, listed: Any, bundle_sha256: str) -> tuple[AnalysedView, ...]:
    views = connection.execute(
        select(
            instance.c.sop_class_uid,
            instance.c.sop_instance_uid,
            instance.c.spool_key,
            analysis.c.finding,
            analysis.c.folder,
            instance.c.sha256,
            instance.c.size,
        )
        .join(analysis, (analysis.c.instance_id == instance.c.id) & (analysis.c.bundle_sha256 == bundle_sha256))
        .where(instance.c.id.in_(listed))
        .order_by(instance.c.received_at, instance.c.id)
    ).all()
    return tuple(AnalysedView(*v[:2], SpoolKey(v.spool_key), v.finding, v.folder, v.sha256, v.size) for v in views)


def _reports_of(connection: Connection, version_id: int | None) -> tuple[ReportObject, ...]:
    """Return a version's report, one row for each class it was written in."""
    if version_id is None:
        return ()
    return tuple(found for found in objects(connection, version_id) if found.slot == "sr")


def objects(connection: Connection, version_id: int) -> tuple[ReportObject, ...]:
    """Return a published version's SOP instances in sending order."""
    rows = connection.execute(
        select(result_object).where(result_object.c.version_id == version_id).order_by(result_object.c.position)
    ).mappings()
    return tuple(
        ReportObject(
            kind=row["kind"],
            slot=row["slot"],
            sop_class_uid=row["sop_class_uid"],
            sop_instance_uid=row["sop_instance_uid"],
            series_instance_uid=row["series_instance_uid"],
            transfer_syntax_uid=row["transfer_syntax_uid"],
            file=row["file"],
        )
        for row in rows.all()
    )


def publish(
    connection: Connection, version_id: int, published: Published, destinations: tuple[str, ...], now: float
) -> bool:
    """Publish a version by one compare-and-set and queue its deliveries; false where it is no longer wanted."""
    changed = connection.execute(
        update(version)
        .where(version.c.id == version_id, version.c.state == "composing")
        .values(
            state="published",
            outcome=published.outcome,
            probability=published.probability,
            reason_code=published.reason_code,
            reason_text=published.reason_text,
            bundle_sha256=published.bundle_sha256,
            folder=published.folder,
            folder_sha256=published.folder_sha256,
            published_at=now,
        )
    ).rowcount
    if not changed:
        return False
    for position, item in enumerate(published.objects):
        connection.execute(
            insert(result_object).values(
                version_id=version_id,
                position=position,
                kind=item.kind,
                slot=item.slot,
                sop_class_uid=item.sop_class_uid,
                sop_instance_uid=item.sop_instance_uid,
                series_instance_uid=item.series_instance_uid,
                transfer_syntax_uid=item.transfer_syntax_uid,
                file=item.file,
            )
        )
    _queue_deliveries(connection, version_id, destinations, now)
    _note_published(connection, version_id, published, now)
    return True


def _note_published(connection: Connection, version_id: int, published: Published, now: float) -> None:
    uid, number = _name(connection, version_id)
    inputs = connection.execute(
        select(instance.c.sop_instance_uid, instance.c.sha256)
        .join(version_instance, version_instance.c.instance_id == instance.c.id)
        .where(version_instance.c.version_id == version_id)
    ).all()
    detail = f"version {number}: {published.outcome}" + (f", {published.reason_text}" if published.reason_text else "")
    audit.note(
        connection,
        now,
        "result.published",
        study=uid,
        detail=detail,
        version=number,
        outcome=published.outcome,
        probability=published.probability,
        reason=published.reason_code,
        bundle_sha256=published.bundle_sha256,
        folder_sha256=published.folder_sha256,
        inputs={row.sop_instance_uid: row.sha256 for row in inputs},
        outputs={item.sop_instance_uid: item.file for item in published.objects},
        **published.facts,
    )


def fail_version(connection: Connection, version_id: int, error: str, now: float) -> None:
    """Note that a version could not be composed; it stays visible until it is replayed."""
    connection.execute(update(version).where(version.c.id == version_id).values(state="failed", reason_text=error))
    uid, number = _name(connection, version_id)
    audit.note(connection, now, "result.failed", study=uid, detail=f"version {number}: {error}")


def _name(connection: Connection, version_id: int) -> tuple[str, int]:
    """Return a version's Study Instance UID and number."""
    row = connection.execute(
        select(study.c.study_instance_uid, version.c.number)
        .join(version, version.c.study_id == study.c.id)
        .where(version.c.id == version_id)
    ).one()
    return row.study_instance_uid, row.number


def _queue_deliveries(connection: Connection, version_id: int, destinations: tuple[str, ...], now: float) -> None:
    study_id = connection.execute(select(version.c.study_id).where(version.c.id == version_id)).scalar_one()
    for destination in destinations:
        connection.execute(
            insert(delivery).values(
                version_id=version_id,
                study_id=study_id,
                destination=destination,
                state="ready",
                attempts=0,
                created_at=now,
                run_after=now,
            )
        )
