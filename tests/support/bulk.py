"""A ledger with many studies, written in bulk: what years of use leave, and what a stopped worker and PACS leave."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

import psycopg

from dicom_node.ledger.database import open_ledger
from dicom_node.ledger.server import Server

_HEX = "'0123456789abcdef'"
_DIGEST = "'0000000000000000000000000000000000000000000000' || CAST(100000000000000000 + v AS TEXT)"
_PREFIX = f"substr({_HEX}, (v / 16) % 16 + 1, 1) || substr({_HEX}, v % 16 + 1, 1)"
_CR, _SR, _EXPLICIT = "'1.2.840.10008.5.1.4.1.1.1'", "'1.2.840.10008.5.1.4.1.1.88.34'", "'1.2.840.10008.1.2.1'"
_UID = "'1.2.' || CAST(i AS TEXT)"

_STUDIES = "WITH RECURSIVE n(i) AS (SELECT FIRST UNION ALL SELECT i + 1 FROM n WHERE i < LAST)"
_VIEWS = ", w(k) AS (SELECT 0 UNION ALL SELECT 1), r AS (SELECT i, k, i * 2 + k AS v FROM n CROSS JOIN w)"

Columns = Mapping[str, str]
#: Each column as SQL that SQLite and PostgreSQL read alike; i counts the studies, v their views, k is 0 or 1.
_OF_STUDY: dict[str, Columns] = {
    "study": {
        "id": "i",
        "study_instance_uid": _UID,
        "state": "'closed'",
        "first_received_at": "i",
        "last_received_at": "i",
        "closes_at": "i",
    },
    "version": {
        "id": "i",
        "study_id": "i",
        "number": "1",
        "state": "'published'",
        "closed_at": "i",
        "outcome": "'negative'",
        "probability": "0.1",
        "bundle_sha256": "'bundle'",
        "folder": "'results/' || CAST(i AS TEXT)",
        "folder_sha256": "'digest'",
        "published_at": "i",
    },
    "delivery": {
        "id": "i",
        "version_id": "i",
        "study_id": "i",
        "destination": "'pacs'",
        "state": "'done'",
        "attempts": "1",
        "interrupted": "0",
        "created_at": "i",
        "run_after": "i",
        "done_at": "i",
    },
    "result_object": {
        "version_id": "i",
        "position": "0",
        "kind": "'sr'",
        "slot": "'sr'",
        "sop_class_uid": _SR,
        "sop_instance_uid": f"{_UID} || '.9'",
        "series_instance_uid": f"{_UID} || '.8'",
        "transfer_syntax_uid": _EXPLICIT,
        "file": "'sr.dcm'",
    },
    "delivery_slot": {
        "delivery_id": "i",
        "number": "0",
        "slot": "'sr'",
        "position": "0",
        "status": "0",
        "note": "''",
        "committed_at": "i",
    },
    "commitment": {
        "delivery_id": "i",
        "destination": "'pacs'",
        "demand": "'auto'",
        "state": "'committed'",
        "attempts": "1",
        "sent_again": "0",
        "run_after": "i",
        "first_asked_at": "i",
        "settled_at": "i",
    },
    "commitment_request": {
        "transaction_uid": "'2.25.' || CAST(i AS TEXT)",
        "delivery_id": "i",
        "asked_at": "i",
        "answered_at": "i",
    },
}
_JOB: Columns = {
    "priority": "0",
    "fence": "1",
    "attempts": "0",
    "crashes": "0",
    "created_at": "i",
    "run_after": "i",
    "state": "'done'",
}
_COMPOSE: Columns = {
    "id": "i * 3",
    "kind": "'compose'",
    "key": "'compose:' || CAST(i AS TEXT)",
    "version_id": "i",
    **_JOB,
}
_OF_VIEW: dict[str, Columns] = {
    "instance": {
        "id": "v",
        "study_id": "i",
        "sop_instance_uid": f"{_UID} || '.' || CAST(v AS TEXT)",
        "sop_class_uid": _CR,
        "series_instance_uid": f"{_UID} || '.1'",
        "transfer_syntax_uid": _EXPLICIT,
        "modality": "'CR'",
        "sha256": _DIGEST,
        "size": "500000",
        "spool_key": f"{_PREFIX} || '/' || {_DIGEST}",
        "received_at": "i",
        "calling_ae": "'PACS'",
        "role": "'view'",
        "is_current": "TRUE",
        "storage": "'spool'",
    },
    "version_instance": {"version_id": "i", "instance_id": "v"},
    "analysis": {
        "instance_id": "v",
        "bundle_sha256": "'bundle'",
        "finding": "'{}'",
        "folder": "'analyses/' || CAST(v AS TEXT)",
        "folder_sha256": "'digest'",
        "made_at": "i",
    },
    "job": {
        "id": "i * 3 + 1 + k",
        "kind": "'analyse'",
        "key": "'analyse:' || CAST(v AS TEXT) || ':bundle'",
        "instance_id": "v",
        **_JOB,
    },
    "audit": {
        "seq": "v",
        "previous": "'0'",
        "at": "i",
        "event": "'instance.stored'",
        "study_instance_uid": _UID,
        "sop_instance_uid": "''",
        "detail": "''",
        "facts": "'{}'",
        "hash": "'0'",
    },
}
_ORDER = ("study", "instance", "version", "version_instance", "analysis", "job", "delivery", "result_object")
_AFTER = ("delivery_slot", "commitment", "commitment_request", "audit")
#: What is otherwise of a study whose images still wait for the worker, and of one whose result waits for the PACS.
_UNANALYSED: dict[str, Columns] = {"version": {"state": "'waiting'"}, "job": {"state": "'ready'", "priority": "1"}}
_UNDELIVERED: dict[str, Columns] = {"delivery": {"state": "'ready'"}}


def fill(path: Path, studies: int, unanalysed: int = 0, undelivered: int = 0) -> None:
    """Make a ledger with so many studies of two views, published, delivered and committed a second after the other.

    After these come so many whose images wait for the worker, and so many whose results wait for the PACS.
    """
    open_ledger(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("PRAGMA cache_size=-400000")
        connection.execute("BEGIN")
        insert(connection.execute, studies, unanalysed, undelivered)
        connection.commit()


def fill_server(place: Server, studies: int, unanalysed: int = 0, undelivered: int = 0) -> None:
    """Make the same ledger in an empty schema of a server, and let it count what is there, as it does by itself."""
    open_ledger(place).close()
    with psycopg.connect(place.url, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")  # no look-up of what each row refers to
        insert(connection.execute, studies, unanalysed, undelivered)
        for table in ("study", "instance", "version", "job", "delivery"):
            connection.execute(f"SELECT setval('{table}_id_seq', max(id)) FROM {table}")  # noqa: S608 - our own
        connection.execute("ANALYZE")


def insert(execute: Callable[[str], object], studies: int, unanalysed: int = 0, undelivered: int = 0) -> None:
    """Insert the rows through a database's own execute, inside the caller's transaction; the tables are empty."""
    waits = studies + unanalysed
    for table in (*_ORDER, *_AFTER):
        _insert(execute, table, (1, studies))
    for table in _ORDER[:4]:
        _insert(execute, table, (studies + 1, waits), _UNANALYSED.get(table, {}))
    if unanalysed:
        _insert(execute, "job", (studies + 1, waits), _UNANALYSED["job"], composed=False)
    for table in _ORDER:
        _insert(execute, table, (waits + 1, waits + undelivered), _UNDELIVERED.get(table, {}))


def _insert(
    execute: Callable[[str], object],
    table: str,
    span: tuple[int, int],
    other: Columns | None = None,
    *,
    composed: bool = True,
) -> None:
    """Insert the rows of one table for the studies from a number to another."""
    first, last = span
    if last < first:
        return
    studies = _STUDIES.replace("FIRST", str(first)).replace("LAST", str(last))
    changed = dict(other or {})
    if table in _OF_VIEW:
        _select(execute, table, (studies + _VIEWS, "r"), {**_OF_VIEW[table], **changed})
    if table in _OF_STUDY:
        _select(execute, table, (studies, "n"), {**_OF_STUDY[table], **changed})
    if table == "job" and composed:
        _select(execute, table, (studies, "n"), _COMPOSE)


def _select(execute: Callable[[str], object], table: str, rows: tuple[str, str], columns: Columns) -> None:
    (counted, source), names, values = rows, ", ".join(columns), ", ".join(columns.values())
    execute(f"INSERT INTO {table} ({names}) {counted} SELECT {values} FROM {source}")  # noqa: S608 - names of ours
