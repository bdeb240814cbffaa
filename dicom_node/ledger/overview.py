"""Read-only questions: what was received, what became of it. For commands and pages; never changes a row."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, Table, create_engine, func, select, text
from sqlalchemy.pool import NullPool

from dicom_node.core.errors import LedgerError
from dicom_node.ledger.audit import Head, Record, Verdict, after, audit, last, verify
from dicom_node.ledger.database import (
    analysis,
    commitment,
    delivery,
    delivery_slot,
    destination,
    instance,
    job,
    result_object,
    schema,
    study,
    version,
    version_instance,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dicom_node.ledger.server import Server

_SLACK_S = 60.0
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
    "storage",
)
_HISTORY_COLUMNS = (
    audit.c.at,
    audit.c.study_instance_uid,
    audit.c.sop_instance_uid,
    audit.c.event,
    audit.c.detail,
)


class Overview:
    """A read-only view of a ledger that another process may be writing."""

    def __init__(self, ledger: Path | Server) -> None:
        self._engine, self._connect = _file(ledger) if isinstance(ledger, Path) else _server(ledger)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Yield a connection that cannot write. Raises LedgerError where there is nothing to connect to."""
        with self._connect() as connection:
            yield connection

    def verify_end(self, records: int) -> tuple[Verdict, int]:
        """Check that the last records of the audit trail follow each other; returns how many were looked at, too."""
        with self.reading() as connection:
            end = connection.execute(select(func.max(audit.c.seq))).scalar() or 0
            found = after(connection, max(end - records, 0), records)
        start = Head(found[0].seq - 1, found[0].previous) if found else None
        return verify(found, (), start), len(found)

    def dates(self, now: float) -> tuple[int, Record | None]:
        """Return how many results are dated later than now, and the trail's newest record of a step of the clock."""
        later = select(func.count()).select_from(version).where(version.c.published_at > now + _SLACK_S)
        with self.reading() as connection:
            return connection.execute(later).scalar_one(), last(connection, "clock.stepped")

    def is_sound(self) -> bool:
        """Tell whether SQLite finds the file undamaged (PRAGMA quick_check, which reads all of it).

        A server is asked whether it ever met a wrong checksum: only its own tools can read its files.
        """
        with self.reading() as connection:
            if connection.dialect.name == "sqlite":
                return bool(connection.exec_driver_sql("PRAGMA quick_check(1)").scalar() == "ok")
            query = "SELECT sum(checksum_failures) FROM pg_stat_database WHERE datname = current_database()"
            return not connection.execute(text(query)).scalar()

    def schema_version(self) -> int:
        """Return the version of the ledger's schema."""
        with self.reading() as connection:
            return int(connection.execute(select(func.max(schema.c.version))).scalar_one())

    def studies(self, limit: int = 100) -> list[dict[str, Any]]:
        """Return the newest studies, each with the state and outcome of its latest version.

        runtimes: what ran the model on its images, by commas, None where nothing was analysed yet.
        """
        of_it = version.alias()
        latest = select(func.max(of_it.c.number)).where(of_it.c.study_id == study.c.id).scalar_subquery()
        count = select(func.count()).where(instance.c.study_id == study.c.id, instance.c.is_current).scalar_subquery()
        query = (
            select(
                study.c.id,
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
            .outerjoin(version, (version.c.study_id == study.c.id) & (version.c.number == latest))
            .order_by(study.c.id.desc())
            .limit(limit)
        )
        with self.reading() as connection:
            rows = [dict(row) for row in connection.execute(query).mappings()]
            ran = _runtimes(connection, rows[-1]["id"]) if rows else {}
        return [row | {"runtimes": ran.get(row.pop("id"))} for row in rows]

    def study(self, uid: str) -> dict[str, Any] | None:
        """Return everything about one study: instances, versions, deliveries and history; None if it is unknown."""
        with self.reading() as connection:
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

    def instances(self, newest: int | None = None) -> list[dict[str, Any]]:
        """Return every instance, or the newest ones, with its role and reason, in the order of their arrival."""
        columns = [instance.c[name] for name in _INSTANCE_COLUMNS]
        query = select(study.c.study_instance_uid, *columns).join(study, study.c.id == instance.c.study_id)
        with self.reading() as connection:
            rows = connection.execute(query.order_by(instance.c.id.desc()).limit(newest)).mappings()
            return [dict(row) for row in rows][::-1]

    def refusals(self, newest: int | None = None) -> list[dict[str, Any]]:
        """Return every refused instance, or the newest ones, with the status it was given, why, and who sent it."""
        query = select(*_HISTORY_COLUMNS, audit.c.facts).where(audit.c.event == "instance.refused")
        with self.reading() as connection:
            rows = connection.execute(query.order_by(audit.c.seq.desc()).limit(newest)).mappings().all()
        return [{**row, "facts": json.loads(row["facts"] or "{}")} for row in rows][::-1]

    def destinations(self) -> dict[str, dict[str, Any]]:
        """Return what is known of each destination by its name: its queue, and what it last answered."""
        is_waiting = delivery.c.state.in_(("ready", "sending"))
        query = select(
            delivery.c.destination,
            func.count().filter(is_waiting).label("waiting"),
            func.count().filter(delivery.c.state == "dead").label("dead"),
            func.count().filter(delivery.c.state == "done").label("done"),
            func.min(delivery.c.created_at).filter(is_waiting).label("oldest_at"),
        ).group_by(delivery.c.destination)
        with self.reading() as connection:
            found = {row.pop("destination"): row for row in map(dict, connection.execute(query).mappings())}
            for row in map(dict, connection.execute(select(destination)).mappings()):
                row["accepted"] = json.loads(row["accepted"] or "[]")
                name = row.pop("name")
                found[name] = {"waiting": 0, "dead": 0, "done": 0, "oldest_at": None} | found.get(name, {}) | row
            for name, states in _proofs(connection).items():
                found[name]["proofs"] = states
            return found

    def trail(self, study_instance_uid: str = "", newest: int = 0) -> Iterator[Record]:
        """Yield the audit trail in order: all of it, that of one study, or only the newest records."""
        query = select(audit).order_by(audit.c.seq)
        if study_instance_uid:
            query = query.where(audit.c.study_instance_uid == study_instance_uid)
        if newest:
            query = query.order_by(None).order_by(audit.c.seq.desc()).limit(newest)
        with self.reading() as connection:
            rows = connection.execution_options(yield_per=1000).execute(query)
            records = (Record(*row) for row in rows)
            yield from reversed(list(records)) if newest else records

    def trail_of_instance(self, sop_instance_uid: str) -> list[Record]:
        """Return the records of one instance in order. Read from end to end: what was refused has no study."""
        query = select(audit).where(audit.c.sop_instance_uid == sop_instance_uid).order_by(audit.c.seq)
        with self.reading() as connection:
            return [Record(*row) for row in connection.execute(query)]

    def counts(self) -> dict[str, dict[str, int]]:
        """Return how many studies, jobs and deliveries are in each state."""
        with self.reading() as connection:
            return {table.name: _by_state(connection, table) for table in (study, job, delivery)}


def _file(ledger: Path) -> tuple[Engine, Callable[[], Connection]]:
    if not ledger.exists():
        message = f"there is no ledger at {ledger}: the node has not been started with this configuration yet"
        raise LedgerError(message)
    url = f"sqlite:///file:{ledger}?mode=ro&uri=true"
    engine = create_engine(url, poolclass=NullPool, connect_args={"timeout": 10.0})
    return engine, engine.connect


def _server(ledger: Server) -> tuple[Engine, Callable[[], Connection]]:
    from dicom_node.ledger import postgres  # noqa: PLC0415 - only where there is one

    return postgres.reader(ledger), lambda: postgres.begin_reading(ledger)


def _runtimes(connection: Connection, first: int) -> dict[int, str]:
    """Return what ran the model on the current images of each study from an id on, by commas."""
    query = (
        select(instance.c.study_id, analysis.c.finding)
        .join(analysis, analysis.c.instance_id == instance.c.id)
        .where(instance.c.study_id >= first, instance.c.is_current)
    )
    found: dict[int, set[str]] = {}
    for study_id, finding in connection.execute(query):
        runtime = (json.loads(finding).get("model") or {}).get("runtime")
        found.setdefault(study_id, set()).update({runtime} if runtime else ())
    return {study_id: ",".join(sorted(names)) for study_id, names in found.items() if names}


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
    names = ("id", "destination", "state", "attempts", "created_at", "run_after", "last_error", "done_at")
    query = (
        select(version.c.number.label("version"), *(delivery.c[name] for name in names))
        .add_columns(commitment.c.state.label("proof"), commitment.c.settled_at.label("proved_at"))
        .add_columns(commitment.c.last_error.label("proof_error"))
        .join(version, version.c.id == delivery.c.version_id)
        .outerjoin(commitment, commitment.c.delivery_id == delivery.c.id)
        .where(delivery.c.study_id == study_id)
        .order_by(delivery.c.id)
    )
    rows = [dict(row) for row in connection.execute(query).mappings()]
    return [row | {"slots": _slots(connection, row.pop("id"))} for row in rows]


def _proofs(connection: Connection) -> dict[str, dict[str, int]]:
    """Return how many deliveries are in each state of their proof, by destination."""
    columns = (commitment.c.destination, commitment.c.state)
    found: dict[str, dict[str, int]] = {}
    for name, state, number in connection.execute(select(*columns, func.count()).group_by(*columns)):
        found.setdefault(name, {})[state] = number
    return found


def _slots(connection: Connection, delivery_id: int) -> list[dict[str, Any]]:
    """Return what a destination has of each slot of a result: nulls where it has nothing of it."""
    sent = [result_object.c[name] for name in ("kind", "sop_class_uid", "sop_instance_uid", "transfer_syntax_uid")]
    own = [delivery_slot.c[name] for name in ("slot", "status", "note", "committed_at", "failure")]
    query = (
        select(*own, *sent)
        .join(delivery, delivery.c.id == delivery_slot.c.delivery_id)
        .outerjoin(
            result_object,
            (result_object.c.version_id == delivery.c.version_id)
            & (result_object.c.position == delivery_slot.c.position),
        )
        .where(delivery_slot.c.delivery_id == delivery_id)
        .order_by(delivery_slot.c.number)
    )
    return [dict(row) for row in connection.execute(query).mappings()]


def _history(connection: Connection, uid: str) -> list[dict[str, Any]]:
    query = select(*_HISTORY_COLUMNS).where(audit.c.study_instance_uid == uid).order_by(audit.c.seq)
    return [dict(row) for row in connection.execute(query).mappings()]
