"""The audit trail: what happened, in order, each record sealed by the hash of the one before it; rows are only added.

A record is written in the transaction of the fact it tells, so there is never the one without the other. It names
UIDs and digests; a Patient ID only as a keyed digest.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, Connection, Float, Index, Table, func, insert, select

from dicom_node.ledger.prepared import Prepared
from dicom_node.ledger.schema import Whole, Words, metadata

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

audit = Table(
    "audit",
    metadata,
    Column("seq", Whole, primary_key=True, autoincrement=False),
    Column("previous", Words, nullable=False),
    Column("at", Float, nullable=False),
    Column("event", Words, nullable=False),
    Column("study_instance_uid", Words, nullable=False),
    Column("sop_instance_uid", Words, nullable=False),
    Column("detail", Words, nullable=False),
    Column("facts", Words, nullable=False),
    Column("hash", Words, nullable=False),
    Index("audit_study", "study_instance_uid", "seq"),
    Index("audit_event", "event", "seq"),
)

BEGINNING = "0" * 64
"""What stands for the hash before the first record."""

_FACTS = json.JSONEncoder(sort_keys=True, ensure_ascii=False)
_SEALED = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_INSERT = Prepared(insert(audit))
_HEAD = select(audit.c.seq, audit.c.hash).where(audit.c.seq == select(func.max(audit.c.seq)).scalar_subquery())


@dataclass(frozen=True, slots=True)
class Record:
    """One record; at: epoch seconds (UTC); facts: a JSON object; hash: SHA-256 over everything else, `previous` too."""

    seq: int
    previous: str
    at: float
    event: str
    study_instance_uid: str
    sop_instance_uid: str
    detail: str
    facts: str
    hash: str

    def details(self) -> dict[str, Any]:
        """Return the facts by name."""
        return dict(json.loads(self.facts))


@dataclass(frozen=True, slots=True)
class Head:
    """The last record's number and hash: whoever keeps it elsewhere can tell later that nothing before it changed."""

    seq: int = 0
    hash: str = BEGINNING

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check of the trail came to; problem names the first bad record, None where all is well."""

    records: int
    head: Head
    problem: str | None


class Chain:
    """Where the chain ends, as the last transaction of this process left it, and the key of the pseudonyms."""

    def __init__(self, key: bytes) -> None:
        self.key = key
        self._head: Head | None = None

    def head(self, connection: Connection) -> Head:
        """Return the head, read from the table where it is not known."""
        if self._head is None:
            row = connection.execute(_HEAD).first()
            self._head = Head(row.seq, row.hash) if row else Head()
        return self._head

    def advance(self, head: Head) -> None:
        """Remember the head that the running transaction has made."""
        self._head = head

    def forget(self) -> None:
        """Read the head anew next time: the transaction that made it was undone."""
        self._head = None


def note(
    connection: Connection,
    at: float,
    event: str,
    *,
    study: str = "",
    sop_instance: str = "",
    detail: str = "",
    **facts: object,
) -> Head:
    """Add a record and return the new head; `detail` is a plain sentence without any attribute of the patient."""
    chain: Chain = connection.info["audit"]
    before = chain.head(connection)
    text = _FACTS.encode({k: v for k, v in facts.items() if v is not None})
    study, sop_instance, detail = (said.replace("\0", "\ufffd") for said in (study, sop_instance, detail))
    values = (before.seq + 1, before.hash, float(at), event, study, sop_instance, detail, text)
    head = Head(before.seq + 1, _seal(values))
    _INSERT.rows(
        connection,
        seq=head.seq,
        previous=before.hash,
        at=float(at),
        event=event,
        study_instance_uid=study,
        sop_instance_uid=sop_instance,
        detail=detail,
        facts=text,
        hash=head.hash,
    )
    chain.advance(head)
    return head


def head(connection: Connection) -> Head:
    """Return the number and hash of the last record."""
    chain: Chain = connection.info["audit"]
    return chain.head(connection)


def pseudonym(connection: Connection, patient_id: str) -> str | None:
    """Return what stands for a Patient ID (HMAC-SHA-256 under this node's key); None where there is none."""
    if not patient_id:
        return None
    chain: Chain = connection.info["audit"]
    return hmac.digest(chain.key, patient_id.encode(), "sha256").hex()


def last(connection: Connection, event: str) -> Record | None:
    """Return the newest record of an event."""
    query = select(audit).where(audit.c.event == event).order_by(audit.c.seq.desc()).limit(1)
    row = connection.execute(query).first()
    return None if row is None else Record(*row)


def after(connection: Connection, seq: int, limit: int) -> list[Record]:
    """Return up to `limit` records after a number, in order."""
    query = select(audit).where(audit.c.seq > seq).order_by(audit.c.seq).limit(limit)
    return [Record(*row) for row in connection.execute(query)]


def verify(records: Iterable[Record], known_heads: Sequence[Head] = (), start: Head | None = None) -> Verdict:
    """Check a trail from its first record, or from the one behind `start`, and against heads written down elsewhere."""
    end = start or Head()
    expected = {known.seq: known.hash for known in known_heads if known.seq > end.seq}
    for record in _guarded(records):
        problem = _flaw(record, end) if isinstance(record, Record) else f"record {end.seq + 1}: {record}"
        if problem is None and expected.get(record.seq, record.hash) != record.hash:
            problem = f"record {record.seq}: not the one whose hash was noted; the trail was written anew"
        if problem is not None:
            return Verdict(end.seq, end, problem)
        end = Head(record.seq, record.hash)
    missing = sorted(seq for seq in expected if seq > end.seq)
    if missing:
        text = f"record {end.seq + 1}: missing, and so are all up to the noted {missing[-1]}; cut off, or an older copy"
        return Verdict(end.seq, end, text)
    return Verdict(end.seq, end, None)


def _guarded(records: Iterable[Record]) -> Iterator[Any]:
    """Yield the records, and in the place of one that cannot even be read a word on why."""
    try:
        yield from records
    except (ValueError, TypeError, OverflowError) as error:
        yield f"cannot be read ({type(error).__name__})"
    except Exception as error:  # noqa: BLE001 - whatever the database says of a damaged row is the finding
        yield f"cannot be read ({type(error).__name__})"


def _flaw(record: Record, before: Head) -> str | None:
    if record.seq != before.seq + 1:
        return f"record {before.seq + 1}: missing; the next one is {record.seq}"
    if record.previous != before.hash:
        return f"record {record.seq}: does not follow the record before it"
    values = (record.seq, record.previous, record.at, record.event, record.study_instance_uid)
    if _seal((*values, record.sop_instance_uid, record.detail, record.facts)) != record.hash:
        return f"record {record.seq}: was changed"
    return None


def _seal(values: tuple[object, ...]) -> str:
    return hashlib.sha256(_SEALED.encode(values).encode()).hexdigest()
