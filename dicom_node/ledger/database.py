"""The tables, and the one door to them: a transaction at a time, on disk before it returns."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Engine,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    create_engine,
    event,
    insert,
    inspect,
    select,
    text,
)
from sqlalchemy.exc import DatabaseError, SQLAlchemyError
from sqlalchemy.pool import StaticPool

from dicom_node.core.errors import LedgerError, LedgerUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCHEMA_VERSION = 2
_LOG_BYTES = 4_500_000  # a little more than the thousand pages after which SQLite begins the log anew

metadata = MetaData()

schema = Table("schema_version", metadata, Column("version", Integer, primary_key=True))

study = Table(
    "study",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("study_instance_uid", Text, nullable=False, unique=True),
    Column("state", Text, nullable=False),  # open | closed
    Column("first_received_at", Float, nullable=False),
    Column("last_received_at", Float, nullable=False),
    Column("first_unreported_at", Float),  # the first view that no version lists yet
    Column("closes_at", Float, nullable=False),
    Index("study_due", "state", "closes_at"),
)

instance = Table(
    "instance",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("study_id", ForeignKey("study.id"), nullable=False, index=True),
    Column("sop_instance_uid", Text, nullable=False),
    Column("sop_class_uid", Text, nullable=False),
    Column("series_instance_uid", Text, nullable=False),
    Column("transfer_syntax_uid", Text, nullable=False),
    Column("modality", Text, nullable=False),
    Column("sha256", Text, nullable=False),  # of the data set as received
    Column("size", Integer, nullable=False),
    Column("spool_key", Text, nullable=False),
    Column("received_at", Float, nullable=False),
    Column("calling_ae", Text, nullable=False),
    Column("role", Text, nullable=False),  # view | kept | own-result
    Column("reason_code", Text),
    Column("reason_text", Text),
    Column("is_current", Boolean, nullable=False),  # false: a later instance came under the same UID
    UniqueConstraint("sop_instance_uid", "sha256"),
)

job = Table(
    "job",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("kind", Text, nullable=False),  # analyse | compose
    Column("key", Text, nullable=False, unique=True),
    Column("instance_id", ForeignKey("instance.id"), index=True),
    Column("version_id", ForeignKey("version.id"), index=True),
    Column("state", Text, nullable=False),  # ready | leased | done | dead | cancelled
    Column("priority", Integer, nullable=False),  # lower first
    Column("fence", Integer, nullable=False),  # grows with every lease: a zombie's answer carries an old one
    Column("attempts", Integer, nullable=False),  # errors the worker reported
    Column("crashes", Integer, nullable=False),  # leases that ended without an answer
    Column("created_at", Float, nullable=False),
    Column("run_after", Float, nullable=False),
    Column("lease_until", Float),
    Column("last_error", Text),
    Index("job_due", "state", "priority", "run_after"),
)

analysis = Table(
    "analysis",
    metadata,
    Column("instance_id", ForeignKey("instance.id"), primary_key=True),
    Column("bundle_sha256", Text, primary_key=True),
    Column("finding", Text, nullable=False),  # JSON of core.findings.ViewFinding
    Column("folder", Text),  # relative to the state folder; none where there was nothing to keep
    Column("folder_sha256", Text),
    Column("made_at", Float, nullable=False),
)

version = Table(
    "version",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("study_id", ForeignKey("study.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("state", Text, nullable=False),  # waiting | composing | published | failed | superseded
    Column("closed_at", Float, nullable=False),
    Column("predecessor_id", ForeignKey("version.id")),
    Column("outcome", Text),
    Column("probability", Float),
    Column("reason_code", Text),
    Column("reason_text", Text),
    Column("bundle_sha256", Text),
    Column("folder", Text),
    Column("folder_sha256", Text),
    Column("published_at", Float),
    UniqueConstraint("study_id", "number"),
    Index("version_state", "state"),
)

version_instance = Table(
    "version_instance",
    metadata,
    Column("version_id", ForeignKey("version.id"), primary_key=True),
    Column("instance_id", ForeignKey("instance.id"), primary_key=True),
)

result_object = Table(
    "result_object",
    metadata,
    Column("version_id", ForeignKey("version.id"), primary_key=True),
    Column("position", Integer, primary_key=True),  # sending order
    Column("kind", Text, nullable=False),  # sc | pr | sr
    Column("slot", Text, nullable=False),  # rows that share one are alternatives, best first
    Column("sop_class_uid", Text, nullable=False),
    Column("sop_instance_uid", Text, nullable=False, index=True),
    Column("series_instance_uid", Text, nullable=False),
    Column("transfer_syntax_uid", Text, nullable=False),
    Column("file", Text, nullable=False),
)

delivery = Table(
    "delivery",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("version_id", ForeignKey("version.id"), nullable=False),
    Column("study_id", ForeignKey("study.id"), nullable=False),
    Column("destination", Text, nullable=False),
    Column("state", Text, nullable=False),  # ready | sending | done | dead
    Column("attempts", Integer, nullable=False),
    Column("interrupted", Integer, nullable=False, default=0),  # attempts that failed in the middle of it
    Column("created_at", Float, nullable=False),
    Column("run_after", Float, nullable=False),
    Column("last_error", Text),
    Column("done_at", Float),
    UniqueConstraint("version_id", "destination"),
    Index("delivery_due", "destination", "state", "run_after"),
    Index("delivery_study", "study_id", "destination", "state"),
)

delivery_slot = Table(
    "delivery_slot",
    metadata,
    Column("delivery_id", ForeignKey("delivery.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("slot", Text, nullable=False),
    Column("position", Integer),  # the result_object that the destination has; none where it has none of this slot
    Column("status", Integer),  # the last answer, DIMSE or HTTP
    Column("note", Text, nullable=False),  # what was left out, and why
)

destination = Table(
    "destination",
    metadata,
    Column("name", Text, primary_key=True),
    Column("accepted", Text),  # JSON: [[SOP class, transfer syntax], ...] of the last negotiation
    Column("reached_at", Float),
    Column("failed_at", Float),
    Column("failures", Integer, nullable=False),  # in a row
    Column("last_error", Text),
)

history = Table(
    "history",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", Float, nullable=False),
    Column("study_instance_uid", Text, nullable=False),
    Column("sop_instance_uid", Text, nullable=False),
    Column("event", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Index("history_study", "study_instance_uid", "id"),
)


class Database:
    """The only read-write connection to the ledger of this process; transactions are serialised by a lock.

    On SQLite: WAL with synchronous=FULL and BEGIN IMMEDIATE, so a transaction is on disk when it returns.
    """

    def __init__(self, url: str) -> None:
        self._lock = threading.RLock()
        self._engine = _engine(url)
        try:
            _migrate(self._engine)
        except DatabaseError as error:
            message = f"the ledger cannot be opened ({type(error.orig).__name__}: {error.orig}); restore a backup"
            raise LedgerError(message) from error

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Yield a connection inside a transaction that is committed, durably, on leaving without an exception.

        Raises LedgerUnavailable, with nothing changed, where the database fails.
        """
        try:
            with self._lock, self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            message = f"the ledger cannot be written ({type(error).__name__}): look at the disk of node.state_dir"
            raise LedgerUnavailable(message) from error

    def close(self) -> None:
        """Close the connection."""
        self._engine.dispose()


def open_ledger(path: Path) -> Database:
    """Open, or create, the SQLite ledger in a file.

    Raises LedgerError where the file is corrupt or of a later schema.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    return Database(f"sqlite:///{path}")


def _engine(url: str) -> Engine:
    if not url.startswith("sqlite"):
        return create_engine(url)
    engine = create_engine(url, poolclass=StaticPool, connect_args={"check_same_thread": False, "timeout": 30.0})

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # the driver must not open transactions of its own
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000"):
            connection.execute(f"PRAGMA {pragma}")
        _grow_log(connection)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _grow_log(connection: Any) -> None:
    """Give SQLite's write-ahead log its full length beforehand.

    A commit that lengthens a file waits for the file system's journal too; one that overwrites takes half the time
    (2.7 to 1.3 ms, measured). Without it the first thousand pages, some hundred instances, would be the slow ones.
    """
    with suppress(sqlite3.Error):  # a help, and no need: where the disk is full the first commit will say so
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.execute("CREATE TABLE filler (content BLOB)")
            connection.execute("INSERT INTO filler VALUES (zeroblob(?))", (_LOG_BYTES,))
            connection.execute("DROP TABLE filler")
            connection.execute("COMMIT")
        except sqlite3.Error:
            connection.execute("ROLLBACK")
            raise
        connection.execute("PRAGMA wal_checkpoint(RESTART)")


def _migrate(engine: Engine) -> None:
    """Create the schema, or refuse a later one; a ledger is never recreated silently."""
    with engine.begin() as connection:
        if not inspect(connection).has_table("schema_version"):
            metadata.create_all(connection)
            connection.execute(insert(schema).values(version=SCHEMA_VERSION))
            return
        found = connection.execute(select(schema.c.version)).scalar_one()
    if found != SCHEMA_VERSION:
        message = f"the ledger has schema {found}, this program needs {SCHEMA_VERSION}; install the matching version"
        raise LedgerError(message)
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite" and connection.execute(text("PRAGMA quick_check(1)")).scalar() != "ok":
            message = "the ledger file is damaged (PRAGMA quick_check); stop the node and restore a backup"
            raise LedgerError(message)
