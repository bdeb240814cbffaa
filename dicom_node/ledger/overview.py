"""Read-only questions: what was received, what became of it. For commands and pages; never changes a row."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, Table, create_engine, func, select
from sqlalchemy.pool import NullPool

from dicom_node.core.errors import LedgerError
from dicom_node.ledger.database import (
    analysis,
    delivery,
    history,
    instance,
    job,
    result_object,
    study,
    version,
    version_instance,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_INSTANCE_COLUMNS = (
    "sop_instance_uid",
    "sop_class_uid",
    "series_instance_uid",
    "transfer_syntax_uid",
    "modality",
    "sha256",
    "size",
    "received_at",
    "calling_ae",
    "role",
    "reason_code",
    "reason_text",
    "is_current",
)


class Overview:
    """A read-only view of a ledger that another process may be writing."""

    def __init__(self, ledger: Path) -> None:
        if not ledger.exists():
            message = f"there is no ledger at {ledger}: the node has not been started with this configuration yet"
            raise LedgerError(message)
        self._engine: Engine = create_engine(
            f"sqlite:///file:{ledger}?mode=ro&uri=true", poolclass=NullPool, connect_args={"timeout": 10.0}
        )

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with self._engine.connect() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Yield a connection that can only read, for the questions of `standing` and `waiting`."""
        with self._read() as connection:
            yield connection

    def studies(self, limit: int = 100) -> list[dict[str, Any]]:
        """Return the newest studies, each with the state and outcome of its latest version."""
        latest = (
            select(version.c.study_id, func.max(version.c.number).label("number"))
            .group_by(version.c.study_id)
            .subquery()
        )
        count = select(func.count()).where(instance.c.study_id == study.c.id, instance.c.is_current).scalar_subquery()
        query = (
            select(
                study.c.study_instance_uid,
                study.c.state,
                study.c.first_received_at,
                study.c.last_received_at,
                count.label("instances"),
                version.c.number.label("version"),
                version.c.state.label("result"),
                version.c.outcome,
                version.c.probability,
                version.c.reason_code,
                version.c.reason_text,
            )
            .select_from(study)
            .outerjoin(latest, latest.c.study_id == study.c.id)
            .outerjoin(version, (version.c.study_id == study.c.id) & (version.c.number == latest.c.number))
            .order_by(study.c.id.desc())
            .limit(limit)
        )
        with self._read() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def study(self, uid: str) -> dict[str, Any] | None:
        """Return everything about one study: instances, versions, deliveries and history; None if it is unknown."""
        with self._read() as connection:
            row = connection.execute(select(study).where(study.c.study_instance_uid == uid)).mappings().first()
            if row is None:
                return None
            found = {
                name: row[name] for name in ("study_instance_uid", "state", "first_received_at", "last_received_at")
            }
            found["instances"] = _instances(connection, row["id"])
            found["versions"] = _versions(connection, row["id"])
            found["deliveries"] = _deliveries(connection, row["id"])
            found["history"] = _history(connection, uid)
            return found

    def instances(self) -> list[dict[str, Any]]:
        """Return every instance with its role and reason."""
        columns = [instance.c[name] for name in _INSTANCE_COLUMNS]
        query = select(study.c.study_instance_uid, *columns).join(study, study.c.id == instance.c.study_id)
        with self._read() as connection:
            return [dict(row) for row in connection.execute(query.order_by(instance.c.id)).mappings()]

    def refusals(self) -> list[dict[str, Any]]:
        """Return every refused instance with the status it was given and why."""
        query = select(history).where(history.c.event == "instance.refused").order_by(history.c.id)
        with self._read() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def counts(self) -> dict[str, dict[str, int]]:
        """Return how many studies, jobs and deliveries are in each state."""
        with self._read() as connection:
            return {table.name: _by_state(connection, table) for table in (study, job, delivery)}


def _by_state(connection: Connection, table: Table) -> dict[str, int]:
    rows = connection.execute(select(table.c.state, func.count().label("number")).group_by(table.c.state))
    return {row.state: row.number for row in rows}


def _instances(connection: Connection, study_id: int) -> list[dict[str, Any]]:
    columns = [instance.c[name] for name in _INSTANCE_COLUMNS]
    newest = (
        select(analysis.c.finding)
        .where(analysis.c.instance_id == instance.c.id)
        .order_by(analysis.c.made_at.desc())
        .limit(1)
        .scalar_subquery()
    )
    query = select(*columns, newest.label("finding")).where(instance.c.study_id == study_id).order_by(instance.c.id)
    return [dict(row) for row in connection.execute(query).mappings()]


def _versions(connection: Connection, study_id: int) -> list[dict[str, Any]]:
    rows = connection.execute(
        select(version).where(version.c.study_id == study_id).order_by(version.c.number)
    ).mappings()
    return [_version(connection, dict(row)) for row in rows.all()]


def _version(connection: Connection, row: dict[str, Any]) -> dict[str, Any]:
    views = connection.execute(
        select(instance.c.sop_instance_uid)
        .join(version_instance, version_instance.c.instance_id == instance.c.id)
        .where(version_instance.c.version_id == row["id"])
    ).scalars()
    items = connection.execute(
        select(result_object).where(result_object.c.version_id == row["id"]).order_by(result_object.c.position)
    ).mappings()
    kept = {name: value for name, value in row.items() if name not in {"id", "study_id", "predecessor_id", "number"}}
    objects = [{k: v for k, v in item.items() if k not in {"version_id", "position"}} for item in items]
    return {"version": row["number"], **kept, "views": list(views), "objects": objects}


def _deliveries(connection: Connection, study_id: int) -> list[dict[str, Any]]:
    names = ("destination", "state", "attempts", "created_at", "run_after", "last_error", "done_at")
    query = (
        select(version.c.number.label("version"), *(delivery.c[name] for name in names))
        .join(version, version.c.id == delivery.c.version_id)
        .where(delivery.c.study_id == study_id)
        .order_by(delivery.c.id)
    )
    return [dict(row) for row in connection.execute(query).mappings()]


def _history(connection: Connection, uid: str) -> list[dict[str, Any]]:
    query = select(history).where(history.c.study_instance_uid == uid).order_by(history.c.id)
    return [{k: v for k, v in row.items() if k != "id"} for row in connection.execute(query).mappings()]
