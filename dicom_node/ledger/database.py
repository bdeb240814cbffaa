"""The tables, and the one door to them: a transaction at a time, on disk before it returns."""

from __future__ import annotations

import secrets
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
    Table,
    Text,
    UniqueConstraint,
    create_engine,
    event,
    text,
)
from sqlalchemy.exc import DatabaseError, SQLAlchemyError
from sqlalchemy.pool import StaticPool

from dicom_node.core.errors import LedgerError, LedgerUnavailable
from dicom_node.ledger import migrations, spool
from dicom_node.ledger.audit import Chain
from dicom_node.ledger.schema import metadata

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LOG_BYTES = 4_500_000  # a little more than the thousand pages after which SQLite begins the log anew
_CHECKED_PAGES = 32_768  # of 4 KiB: a check of more would keep the node from starting within its three seconds

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
    Column("purged_at", Float, index=True),  # its bytes were given up, its rows were not
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
    Column("storage", Text, nullable=False, server_default="spool"),  # spool | purged | damaged | missing
    UniqueConstraint("sop_instance_uid", "sha256"),
    Index("instance_spool_key", "spool_key", unique=True),
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
    Index("delivery_state", "state"),
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
    Column("committed_at", Float),  # when the destination promised to keep it
    Column("failure", Integer),  # why it did not (PS3.3 C.14.1.1)
)

commitment = Table(
    "commitment",
    metadata,
    Column("delivery_id", ForeignKey("delivery.id"), primary_key=True),
    Column("destination", Text, nullable=False),
    Column("demand", Text, nullable=False),  # the proof that was asked for: core.delivery.Proof
    # waiting | asked | resending | failed | unanswered; proved: committed | found | stored (where no more is to be had)
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),  # requests since the delivery
    Column("sent_again", Integer, nullable=False),  # how often it was delivered again because something was missing
    Column("run_after", Float, nullable=False),
    Column("first_asked_at", Float),
    Column("settled_at", Float),
    Column("last_error", Text),
    Index("commitment_due", "destination", "state", "run_after"),
)

commitment_request = Table(
    "commitment_request",
    metadata,
    Column("transaction_uid", Text, primary_key=True),
    Column("delivery_id", ForeignKey("delivery.id"), nullable=False, index=True),
    Column("asked_at", Float, nullable=False),
    Column("answered_at", Float),  # or when its answer stopped to matter
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

progress = Table(
    "progress",
    metadata,
    Column("name", Text, primary_key=True),  # how far a slow walk has come: scrub | syslog
    Column("value", Integer, nullable=False),
)


class Database:
    """The only read-write connection to the ledger of this process; transactions are serialised by a lock.

    On SQLite: WAL with synchronous=FULL and BEGIN IMMEDIATE, so a transaction is on disk when it returns.
    """

    def __init__(self, url: str, audit_key: bytes = b"", busy_s: float = 30.0) -> None:
        self._lock = threading.RLock()
        self._chain = Chain(audit_key)
        self._engine = _engine(url, self._chain, busy_s)
        try:
            _check(self._engine)
            migrations.bring_up_to_date(self._engine, metadata)
        except DatabaseError as error:
            self._engine.dispose()
            raise LedgerError(_advice(str(error.orig))) from error
        except LedgerError:
            self._engine.dispose()
            raise

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Yield a connection inside a transaction that is committed, durably, on leaving without an exception.

        Raises LedgerUnavailable, with nothing changed, where the database fails.
        """
        try:
            with self._lock, self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            self._chain.forget()
            cause = getattr(error, "orig", None) or type(error).__name__  # SQLite's words name tables, never a value
            message = f"the ledger cannot be written ({cause}): look at the disk of node.state_dir"
            raise LedgerUnavailable(message) from error
        except BaseException:
            self._chain.forget()
            raise

    def close(self) -> None:
        """Close the connection."""
        self._engine.dispose()


def open_ledger(path: Path, busy_s: float = 30.0) -> Database:
    """Open, or create, the SQLite ledger in a file; busy_s: how long to wait for another process's lock.

    Raises LedgerError where the file is corrupt, locked, of a later schema, or gone although its instances are there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or not path.stat().st_size:
        instances = path.parent / "instances"
        if next(instances.rglob("*.dcm"), None) is not None:
            message = (
                f"{path} is missing but {instances} holds instances: put a backup back (`dicom-node restore`), "
                "or move the whole state folder aside to begin a new one"
            )
            raise LedgerError(message)
    return Database(f"sqlite:///{path}", _audit_key(path.with_name("audit.key")), busy_s)


def _audit_key(path: Path) -> bytes:
    """Return the key of the audit trail's pseudonyms, made on first use; readable by the service user only."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        key = secrets.token_bytes(32)
        temporary = path.with_name("audit.key.tmp")
        temporary.unlink(missing_ok=True)
        spool.write_durably(path, temporary, (key,))
        path.chmod(0o600)
        return key


def _engine(url: str, chain: Chain, busy_s: float) -> Engine:
    engine = create_engine(url, poolclass=StaticPool, connect_args={"check_same_thread": False, "timeout": busy_s})

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # the driver must not open transactions of its own
        record.info["audit"] = chain
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")
        _grow_log(connection)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    @event.listens_for(engine, "rollback_savepoint")
    def _undone(_connection: Connection, _name: str, _context: object) -> None:
        chain.forget()

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


def _check(engine: Engine) -> None:
    """Refuse a damaged file before anything is written to it; a large one is checked in the background instead."""
    with engine.connect() as connection:
        pages = connection.execute(text("PRAGMA page_count")).scalar_one()
        if pages <= _CHECKED_PAGES and connection.execute(text("PRAGMA quick_check(1)")).scalar() != "ok":
            raise LedgerError(_advice("PRAGMA quick_check"))


def _advice(problem: str) -> str:
    """Return one line on why the ledger cannot be opened and what to do."""
    if "locked" in problem:
        return "the ledger is locked by another program: stop it (`fuser ledger.sqlite` names it) and start again"
    if "full" in problem or "I/O" in problem:
        return f"the ledger cannot be opened ({problem}): look at the disk of node.state_dir, make room, start again"
    return f"the ledger file is damaged ({problem}): stop the node and put a backup back (`dicom-node restore`)"
