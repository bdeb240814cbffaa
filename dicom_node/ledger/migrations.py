"""From one schema of the ledger to the next: explicit steps, one transaction, a copy of the file taken before it.

A ledger on a PostgreSQL server has had schema 3 at least: the steps from there on must be written for both.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, MetaData, inspect, text

from dicom_node.core.errors import LedgerError
from dicom_node.ledger import audit

if TYPE_CHECKING:
    from collections.abc import Callable

SCHEMA_VERSION = 3

#: Each object has a slot; before there were alternatives each was alone in its own.
_TO_2 = (
    "ALTER TABLE result_object ADD COLUMN slot TEXT DEFAULT '' NOT NULL",
    "UPDATE result_object SET slot = CASE kind WHEN 'sr' THEN 'sr' ELSE kind || '-' || (position + 1) END",
)
_TO_3 = (
    """CREATE TABLE delivery_slot (delivery_id INTEGER NOT NULL REFERENCES delivery (id), number INTEGER NOT NULL,
       slot TEXT NOT NULL, position INTEGER, status INTEGER, note TEXT NOT NULL,
       committed_at FLOAT, failure INTEGER, PRIMARY KEY (delivery_id, number))""",
    """CREATE TABLE commitment (delivery_id INTEGER NOT NULL PRIMARY KEY REFERENCES delivery (id),
       destination TEXT NOT NULL, demand TEXT NOT NULL, state TEXT NOT NULL, attempts INTEGER NOT NULL,
       sent_again INTEGER NOT NULL, run_after FLOAT NOT NULL, first_asked_at FLOAT, settled_at FLOAT,
       last_error TEXT)""",
    "CREATE INDEX commitment_due ON commitment (destination, state, run_after)",
    """CREATE TABLE commitment_request (transaction_uid TEXT NOT NULL PRIMARY KEY,
       delivery_id INTEGER NOT NULL REFERENCES delivery (id), asked_at FLOAT NOT NULL, answered_at FLOAT)""",
    "CREATE INDEX ix_commitment_request_delivery_id ON commitment_request (delivery_id)",
    """CREATE TABLE destination (name TEXT NOT NULL PRIMARY KEY, accepted TEXT, reached_at FLOAT, failed_at FLOAT,
       failures INTEGER NOT NULL, last_error TEXT)""",
    """CREATE TABLE audit (seq INTEGER NOT NULL PRIMARY KEY, previous TEXT NOT NULL, at FLOAT NOT NULL,
       event TEXT NOT NULL, study_instance_uid TEXT NOT NULL, sop_instance_uid TEXT NOT NULL, detail TEXT NOT NULL,
       facts TEXT NOT NULL, hash TEXT NOT NULL)""",
    "CREATE INDEX audit_study ON audit (study_instance_uid, seq)",
    "CREATE INDEX audit_event ON audit (event, seq)",
    "CREATE TABLE progress (name TEXT NOT NULL PRIMARY KEY, value INTEGER NOT NULL)",
    "ALTER TABLE delivery ADD COLUMN interrupted INTEGER DEFAULT 0 NOT NULL",
    "ALTER TABLE instance ADD COLUMN storage TEXT DEFAULT 'spool' NOT NULL",
    "ALTER TABLE study ADD COLUMN purged_at FLOAT",
    "CREATE INDEX ix_study_purged_at ON study (purged_at)",
    "CREATE INDEX delivery_state ON delivery (state)",
    "CREATE UNIQUE INDEX instance_spool_key ON instance (spool_key)",
)


#: Of what is written on a server; there the administrator's dump is the copy.
_WITHOUT_LIMIT = "SET LOCAL statement_timeout = 0"


def copy_name(path: Path, version: int) -> Path:
    """Return where the copy of a ledger lies that was taken before it left a schema version."""
    return path.with_name(f"{path.name}.schema-{version}")


def bring_up_to_date(engine: Engine, metadata: MetaData) -> None:
    """Create the schema, or take an earlier one forward; the caller's program must not be older than the ledger.

    Raises LedgerError where it is. Everything happens in one transaction: what is interrupted has not happened.
    """
    with engine.begin() as connection:
        if not inspect(connection).has_table("schema_version"):
            metadata.create_all(connection)
            connection.execute(text("INSERT INTO schema_version (version) VALUES (:v)"), {"v": SCHEMA_VERSION})
            return
        found = int(connection.execute(text("SELECT max(version) FROM schema_version")).scalar_one())
    if found == SCHEMA_VERSION:
        return
    if found > SCHEMA_VERSION or found not in _STEPS:
        message = (
            f"the ledger has schema {found}, this program needs {SCHEMA_VERSION}: install the program that wrote it, "
            f"or put back the copy taken before the upgrade ({_way_back(engine)})"
        )
        raise LedgerError(message)
    if engine.dialect.name == "sqlite":
        _copy(engine, found)
    with engine.begin() as connection:
        if engine.dialect.name != "sqlite":
            connection.exec_driver_sql(_WITHOUT_LIMIT)
        for version in range(found, SCHEMA_VERSION):
            _STEPS[version](connection)
        connection.execute(text("UPDATE schema_version SET version = :v"), {"v": SCHEMA_VERSION})


def _way_back(engine: Engine) -> str:
    return f"ledger.sqlite.schema-{SCHEMA_VERSION}" if engine.dialect.name == "sqlite" else "your dump of the database"


def _copy(engine: Engine, version: int) -> None:
    """Write the ledger as it is beside itself, durably, so that the program that made it can go on from there."""
    if not engine.url.database:
        return
    target = copy_name(Path(engine.url.database), version)
    partial = target.with_name(f"{target.name}.tmp")
    partial.unlink(missing_ok=True)
    copy_database(Path(engine.url.database), partial)
    partial.replace(target)


def copy_database(source: Path, target: Path) -> None:
    """Copy a SQLite file, WAL included, while others may be writing it; on disk when this returns."""
    reader, writer = sqlite3.connect(f"file:{source}?mode=ro", uri=True), sqlite3.connect(target)
    try:
        reader.backup(writer)
        writer.execute("PRAGMA journal_mode=DELETE")  # one file that can be copied on
    finally:
        reader.close()
        writer.close()
    target.chmod(0o600)
    for path, flags in ((target, os.O_RDONLY), (target.parent, os.O_RDONLY | os.O_DIRECTORY)):
        descriptor = os.open(path, flags)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _to_2(connection: Connection) -> None:
    for statement in _TO_2:
        connection.exec_driver_sql(statement)


def _to_3(connection: Connection) -> None:
    """Make the history the first part of the audit trail; an instance says where its bytes are."""
    for statement in _TO_3:
        connection.exec_driver_sql(statement)
    rows = connection.exec_driver_sql(
        "SELECT at, event, study_instance_uid, sop_instance_uid, detail FROM history ORDER BY id"
    ).all()
    for at, event, study, sop_instance, detail in rows:
        audit.note(connection, at, event, study=study, sop_instance=sop_instance, detail=detail, schema=2)
    connection.exec_driver_sql("DROP TABLE history")


_STEPS: dict[int, Callable[[Connection], None]] = {1: _to_2, 2: _to_3}
