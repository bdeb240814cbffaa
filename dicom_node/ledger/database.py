"""The tables, and the one door to them: a transaction at a time, on disk before it returns."""

from __future__ import annotations

import secrets
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Boolean, Column, Connection, Float, ForeignKey, Index, Table, UniqueConstraint
from sqlalchemy.exc import DatabaseError, SQLAlchemyError

from dicom_node.core.errors import LedgerError
from dicom_node.ledger import migrations, spool
from dicom_node.ledger.audit import Chain
from dicom_node.ledger.schema import Whole, Words, metadata
from dicom_node.ledger.server import Server
from dicom_node.ledger.sqlite_file import InFile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dicom_node.ledger.postgres import OnServer

schema = Table("schema_version", metadata, Column("version", Whole, primary_key=True))

study = Table(
    "study",
    metadata,
    Column("id", Whole, primary_key=True),
    Column("study_instance_uid", Words, nullable=False, unique=True),
    Column("state", Words, nullable=False),  # open | closed
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
    Column("id", Whole, primary_key=True),
    Column("study_id", ForeignKey("study.id"), nullable=False, index=True),
    Column("sop_instance_uid", Words, nullable=False),
    Column("sop_class_uid", Words, nullable=False),
    Column("series_instance_uid", Words, nullable=False),
    Column("transfer_syntax_uid", Words, nullable=False),
    Column("modality", Words, nullable=False),
    Column("sha256", Words, nullable=False),  # of the data set as received
    Column("size", Whole, nullable=False),
    Column("spool_key", Words, nullable=False),
    Column("received_at", Float, nullable=False),
    Column("calling_ae", Words, nullable=False),
    Column("role", Words, nullable=False),  # view | kept | own-result
    Column("reason_code", Words),
    Column("reason_text", Words),
    Column("is_current", Boolean, nullable=False),  # false: a later instance came under the same UID
    Column("storage", Words, nullable=False, server_default="spool"),  # spool | purged | damaged | missing
    UniqueConstraint("sop_instance_uid", "sha256"),
    Index("instance_spool_key", "spool_key", unique=True),
)

job = Table(
    "job",
    metadata,
    Column("id", Whole, primary_key=True),
    Column("kind", Words, nullable=False),  # analyse | compose
    Column("key", Words, nullable=False, unique=True),
    Column("instance_id", ForeignKey("instance.id"), index=True),
    Column("version_id", ForeignKey("version.id"), index=True),
    Column("state", Words, nullable=False),  # ready | leased | done | dead | cancelled
    Column("priority", Whole, nullable=False),  # lower first
    Column("fence", Whole, nullable=False),  # grows with every lease: a zombie's answer carries an old one
    Column("attempts", Whole, nullable=False),  # errors the worker reported
    Column("crashes", Whole, nullable=False),  # leases that ended without an answer
    Column("created_at", Float, nullable=False),
    Column("run_after", Float, nullable=False),
    Column("lease_until", Float),
    Column("last_error", Words),
    Index("job_due", "state", "priority", "run_after"),
)

analysis = Table(
    "analysis",
    metadata,
    Column("instance_id", ForeignKey("instance.id"), primary_key=True),
    Column("bundle_sha256", Words, primary_key=True),
    Column("finding", Words, nullable=False),  # JSON of core.findings.ViewFinding
    Column("folder", Words),  # relative to the state folder; none where there was nothing to keep
    Column("folder_sha256", Words),
    Column("made_at", Float, nullable=False),
)

version = Table(
    "version",
    metadata,
    Column("id", Whole, primary_key=True),
    Column("study_id", ForeignKey("study.id"), nullable=False),
    Column("number", Whole, nullable=False),
    Column("state", Words, nullable=False),  # waiting | composing | published | failed | superseded
    Column("closed_at", Float, nullable=False),
    Column("predecessor_id", ForeignKey("version.id")),
    Column("outcome", Words),
    Column("probability", Float),
    Column("reason_code", Words),
    Column("reason_text", Words),
    Column("bundle_sha256", Words),
    Column("folder", Words),
    Column("folder_sha256", Words),
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
    Column("position", Whole, primary_key=True),  # sending order
    Column("kind", Words, nullable=False),  # sc | pr | sr
    Column("slot", Words, nullable=False),  # rows that share one are alternatives, best first
    Column("sop_class_uid", Words, nullable=False),
    Column("sop_instance_uid", Words, nullable=False, index=True),
    Column("series_instance_uid", Words, nullable=False),
    Column("transfer_syntax_uid", Words, nullable=False),
    Column("file", Words, nullable=False),
)

delivery = Table(
    "delivery",
    metadata,
    Column("id", Whole, primary_key=True),
    Column("version_id", ForeignKey("version.id"), nullable=False),
    Column("study_id", ForeignKey("study.id"), nullable=False),
    Column("destination", Words, nullable=False),
    Column("state", Words, nullable=False),  # ready | sending | done | dead
    Column("attempts", Whole, nullable=False),
    Column("interrupted", Whole, nullable=False, default=0),  # attempts that failed in the middle of it
    Column("created_at", Float, nullable=False),
    Column("run_after", Float, nullable=False),
    Column("last_error", Words),
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
    Column("number", Whole, primary_key=True),
    Column("slot", Words, nullable=False),
    Column("position", Whole),  # the result_object that the destination has; none where it has none of this slot
    Column("status", Whole),  # the last answer, DIMSE or HTTP
    Column("note", Words, nullable=False),  # what was left out, and why
    Column("committed_at", Float),  # when the destination promised to keep it
    Column("failure", Whole),  # why it did not (PS3.3 C.14.1.1)
)

commitment = Table(
    "commitment",
    metadata,
    Column("delivery_id", ForeignKey("delivery.id"), primary_key=True),
    Column("destination", Words, nullable=False),
    Column("demand", Words, nullable=False),  # the proof that was asked for: core.delivery.Proof
    # waiting | asked | resending | failed | unanswered; proved: committed | found | stored (where no more is to be had)
    Column("state", Words, nullable=False),
    Column("attempts", Whole, nullable=False),  # requests since the delivery
    Column("sent_again", Whole, nullable=False),  # how often it was delivered again because something was missing
    Column("run_after", Float, nullable=False),
    Column("first_asked_at", Float),
    Column("settled_at", Float),
    Column("last_error", Words),
    Index("commitment_due", "destination", "state", "run_after"),
)

commitment_request = Table(
    "commitment_request",
    metadata,
    Column("transaction_uid", Words, primary_key=True),
    Column("delivery_id", ForeignKey("delivery.id"), nullable=False, index=True),
    Column("asked_at", Float, nullable=False),
    Column("answered_at", Float),  # or when its answer stopped to matter
)

destination = Table(
    "destination",
    metadata,
    Column("name", Words, primary_key=True),
    Column("accepted", Words),  # JSON: [[SOP class, transfer syntax], ...] of the last negotiation
    Column("reached_at", Float),
    Column("failed_at", Float),
    Column("failures", Whole, nullable=False),  # in a row
    Column("last_error", Words),
)

progress = Table(
    "progress",
    metadata,
    Column("name", Words, primary_key=True),  # how far a slow walk has come: scrub | syslog
    Column("value", Whole, nullable=False),
)


class Database:
    """The only read-write connection to the ledger of this process; transactions are serialised by a lock.

    A transaction is on disk when it returns, in the SQLite file or on the PostgreSQL server.
    """

    def __init__(self, ledger: str | Server, audit_key: bytes = b"", busy_s: float = 30.0) -> None:
        self._lock = threading.RLock()
        self._chain = Chain(audit_key)
        self._kept = _kept(ledger, self._chain, busy_s)
        self._engine = self._kept.engine
        try:
            self._kept.check()
            migrations.bring_up_to_date(self._engine, metadata)
        except DatabaseError as error:
            self._engine.dispose()
            raise self._kept.not_opened(error) from error
        except BaseException:
            self._engine.dispose()
            raise

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Yield a connection inside a transaction that is committed, durably, on leaving without an exception.

        Raises LedgerUnavailable, with nothing changed, where the database fails.
        """
        try:
            with self._lock, self._kept.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            self._chain.forget()
            raise self._kept.not_written(error) from error
        except BaseException:
            self._chain.forget()
            raise

    def close(self) -> None:
        """Close the connection."""
        self._kept.close()


def _kept(ledger: str | Server, chain: Chain, busy_s: float) -> InFile | OnServer:
    if isinstance(ledger, str):
        return InFile(ledger, chain, busy_s)
    from dicom_node.ledger.postgres import OnServer  # noqa: PLC0415 - only where there is one

    return OnServer(ledger, chain, busy_s)


def open_ledger(ledger: Path | Server, busy_s: float = 30.0) -> Database:
    """Open, or create, the ledger; busy_s: how long to wait for another process's lock, and for a server.

    Raises LedgerError where it is corrupt, locked, of a later schema, or gone although its instances are there, and
    LedgerUnavailable where a server does not answer or another node uses it.
    """
    if isinstance(ledger, Server):
        return Database(ledger, _audit_key(ledger.state_dir / "audit.key"), busy_s)
    ledger.parent.mkdir(parents=True, exist_ok=True)
    if not ledger.exists() or not ledger.stat().st_size:
        instances = ledger.parent / "instances"
        if next(instances.rglob("*.dcm"), None) is not None:
            message = (
                f"{ledger} is missing but {instances} holds instances: put a backup back (`dicom-node restore`), "
                "or move the whole state folder aside to begin a new one"
            )
            raise LedgerError(message)
    return Database(f"sqlite:///{ledger}", _audit_key(ledger.with_name("audit.key")), busy_s)


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
