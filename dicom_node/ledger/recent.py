"""The latest results with their pictures, and what failed: for the status page. Every question finds an index."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from dicom_node.core.errors import LedgerError
from dicom_node.ledger.database import result_object, study, version
from dicom_node.ledger.overview import Overview

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Connection

    from dicom_node.ledger.server import Server

_PLAIN = "1.2.840.10008.1.2.1"  # the one alternative of a page that needs no decoder
_IS_PICTURE = (result_object.c.kind == "sc") & (result_object.c.transfer_syntax_uid == _PLAIN)
_SUMMARY = "sc-1"  # the heatmaps follow it


@contextmanager
def reading(ledger: Path | Server) -> Iterator[Connection]:
    """Yield a connection that can only read. Raises LedgerError where there is no ledger, or none that can be read."""
    try:
        with Overview(ledger).reading() as connection:
            yield connection
    except SQLAlchemyError as error:
        message = f"the ledger cannot be read ({type(error).__name__}): `dicom-node doctor` says why"
        raise LedgerError(message) from error


def latest_results(connection: Connection, limit: int) -> list[dict[str, Any]]:
    """Return the newest versions of results, with the UIDs of summary page and first heatmap unless they are purged."""
    mine = select(result_object.c.sop_instance_uid).where(
        result_object.c.version_id == version.c.id, _IS_PICTURE, study.c.purged_at.is_(None)
    )
    first = mine.order_by(result_object.c.position).limit(1)
    query = (
        select(
            study.c.study_instance_uid,
            version.c.number,
            version.c.state,
            version.c.outcome,
            version.c.probability,
            version.c.reason_text,
            version.c.closed_at,
            version.c.published_at,
            first.where(result_object.c.slot == _SUMMARY).scalar_subquery().label("summary"),
            first.where(result_object.c.slot != _SUMMARY).scalar_subquery().label("heatmap"),
        )
        .join(study, study.c.id == version.c.study_id)
        .order_by(version.c.id.desc())
        .limit(limit)
    )
    return [dict(row) for row in connection.execute(query).mappings()]


def open_studies(connection: Connection) -> tuple[int, float | None]:
    """Return how many studies still wait for images, and when the first radiograph that waits in one came."""
    query = select(func.count(), func.min(study.c.first_unreported_at)).where(study.c.state == "open")
    number, oldest = connection.execute(query).one()
    return int(number), oldest


def failed_results(connection: Connection, limit: int = 3) -> tuple[int, list[dict[str, Any]]]:
    """Return how many versions could not be composed, and the newest of them."""
    failed = version.c.state == "failed"
    number = connection.execute(select(func.count()).select_from(version).where(failed)).scalar_one()
    query = (
        select(study.c.study_instance_uid, version.c.number, version.c.reason_text)
        .join(study, study.c.id == version.c.study_id)
        .where(failed)
        .order_by(version.c.id.desc())
        .limit(limit)
    )
    return number, [dict(row) for row in connection.execute(query).mappings()]


def pictures_of(connection: Connection, study_instance_uid: str) -> list[dict[str, Any]]:
    """Return the pictures of a study's newest published result, in sending order; none once they are purged."""
    newest = (
        select(version.c.id)
        .join(study, study.c.id == version.c.study_id)
        .where(
            study.c.study_instance_uid == study_instance_uid,
            study.c.purged_at.is_(None),
            version.c.published_at.is_not(None),
        )
        .order_by(version.c.number.desc())
        .limit(1)
        .scalar_subquery()
    )
    query = select(result_object.c.sop_instance_uid, result_object.c.slot).where(
        result_object.c.version_id == newest, _IS_PICTURE
    )
    return [dict(row) for row in connection.execute(query.order_by(result_object.c.position)).mappings()]


def picture_file(connection: Connection, sop_instance_uid: str) -> str | None:
    """Return the uncompressed file of a picture of ours, relative to the state folder; None where there is none."""
    query = (
        select(version.c.folder, result_object.c.file)
        .join(version, version.c.id == result_object.c.version_id)
        .where(result_object.c.sop_instance_uid == sop_instance_uid, _IS_PICTURE, version.c.folder.is_not(None))
        .limit(1)
    )
    row = connection.execute(query).first()
    return None if row is None else f"{row.folder}/{row.file}"
