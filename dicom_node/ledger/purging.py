"""Giving up the bytes of studies whose results are proved delivered; their rows and their audit trail stay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import Connection, exists, select, update

from dicom_node.core.identifiers import SpoolKey
from dicom_node.ledger import audit, commitments
from dicom_node.ledger.database import analysis, delivery, instance, study, version

if TYPE_CHECKING:
    from collections.abc import Callable

_FINAL = frozenset(("published", "superseded"))


@dataclass(frozen=True, slots=True)
class Holdings:
    """What a study has on the disk: instances by spool key, and folders relative to the state folder."""

    study_id: int
    study_instance_uid: str
    spool_keys: tuple[SpoolKey, ...]
    folders: tuple[str, ...]


def due(
    connection: Connection, after: int, is_old: Callable[[float], bool], limit: int
) -> tuple[list[int], int | None]:
    """Look at the next `limit` studies after an id; return those whose results were proved delivered long enough ago.

    is_old says it of a time. Returns the ids, oldest first, and where to go on, None at the end. What was closed
    without a result is never due.
    """
    looked = connection.execute(
        select(study.c.id, study.c.state, study.c.last_received_at)
        .where(study.c.purged_at.is_(None), study.c.id > after)
        .order_by(study.c.id)
        .limit(limit)
    ).all()
    old = [int(row.id) for row in looked if row.state == "closed" and is_old(row.last_received_at)]
    proved = _proved(connection, old, is_old) if old else set()
    return [study_id for study_id in old if study_id in proved], int(looked[-1].id) if len(looked) == limit else None


def _proved(connection: Connection, ids: list[int], is_old: Callable[[float], bool]) -> set[int]:
    """Return the studies whose results are where they belong, with the proof of it that the settings ask for.

    Asked by study alone: with a state in the condition SQLite takes the index on it, and walks over all that is done.
    """
    versions: dict[int, set[str]] = {}
    for row in connection.execute(select(version.c.study_id, version.c.state).where(version.c.study_id.in_(ids))):
        versions.setdefault(row.study_id, set()).add(row.state)
    sent: dict[int, list[bool]] = {}
    columns = (delivery.c.study_id, delivery.c.state, delivery.c.done_at)
    for key, state, done_at in connection.execute(select(*columns).where(delivery.c.study_id.in_(ids))):
        sent.setdefault(key, []).append(state == "done" and done_at is not None and is_old(done_at))
    whole = {key for key, states in versions.items() if "published" in states and states <= _FINAL}
    return {key for key in whole if sent.get(key) and all(sent[key])} - commitments.unproved(connection, ids)


def is_due(connection: Connection, study_id: int, is_old: Callable[[float], bool]) -> bool:
    """Tell whether a study is still one whose bytes may go."""
    found, _ = due(connection, study_id - 1, is_old, 1)
    return found == [study_id]


def holdings(connection: Connection, study_id: int) -> Holdings:
    """Return what a study has on the disk."""
    uid = connection.execute(select(study.c.study_instance_uid).where(study.c.id == study_id)).scalar_one()
    keys = connection.execute(
        select(instance.c.spool_key).where(instance.c.study_id == study_id, instance.c.storage == "spool")
    ).scalars()
    maps = connection.execute(
        select(analysis.c.folder)
        .join(instance, instance.c.id == analysis.c.instance_id)
        .where(instance.c.study_id == study_id)
    ).scalars()
    sent = connection.execute(select(version.c.folder).where(version.c.study_id == study_id)).scalars()
    folders = tuple(str(folder) for folder in (*maps, *sent) if folder)
    return Holdings(study_id, str(uid), tuple(SpoolKey(key) for key in keys), folders)


def answered(connection: Connection, study_instance_uid: str) -> int | None:
    """Return the id of a study for which nothing is left to do, its deliveries done or given up; None for others."""
    unfinished = exists().where(version.c.study_id == study.c.id, version.c.state.in_(("waiting", "composing")))
    query = select(study.c.id).where(
        study.c.study_instance_uid == study_instance_uid,
        study.c.purged_at.is_(None),
        study.c.state == "closed",
        ~unfinished,
        ~exists().where(delivery.c.study_id == study.c.id, delivery.c.state.in_(("ready", "sending"))),
    )
    found = connection.execute(query).scalar()
    return None if found is None else int(found)


def note_purged(connection: Connection, held: Holdings, now: float, why: str) -> None:
    """Write down that a study's bytes are gone."""
    connection.execute(update(study).where(study.c.id == held.study_id).values(purged_at=now))
    connection.execute(
        update(instance)
        .where(instance.c.study_id == held.study_id, instance.c.storage == "spool")
        .values(storage="purged")
    )
    detail = f"{len(held.spool_keys)} instances removed: {why}"
    audit.note(connection, now, "study.purged", study=held.study_instance_uid, detail=detail)
