"""A ledger with many answered and delivered studies, written in bulk: what years of use leave."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg

from dicom_node.ledger.database import open_ledger
from dicom_node.ledger.server import Server

_VIEWS = 2
_STATEMENTS = {
    "study": "INSERT INTO study VALUES (?, ?, 'closed', ?, ?, NULL, ?, NULL)",
    "instance": "INSERT INTO instance VALUES (?, ?, ?, '1.2.840.10008.5.1.4.1.1.1', ?, '1.2.840.10008.1.2.1', 'CR', ?, "
    "500000, ?, ?, 'PACS', 'view', NULL, NULL, 1, 'spool')",
    "version": "INSERT INTO version VALUES (?, ?, 1, 'published', ?, NULL, 'negative', 0.1, NULL, NULL, 'bundle', ?, "
    "'digest', ?)",
    "version_instance": "INSERT INTO version_instance VALUES (?, ?)",
    "analysis": "INSERT INTO analysis VALUES (?, 'bundle', '{}', ?, 'digest', ?)",
    "job": "INSERT INTO job VALUES (?, ?, ?, ?, ?, 'done', 0, 1, 0, 0, ?, ?, NULL, NULL)",
    "delivery": "INSERT INTO delivery (id, version_id, study_id, destination, state, attempts, interrupted, "
    "created_at, run_after, done_at) VALUES (?, ?, ?, 'pacs', 'done', 1, 0, ?, ?, ?)",
    "result_object": "INSERT INTO result_object VALUES (?, 0, 'sr', 'sr', '1.2.840.10008.5.1.4.1.1.88.34', ?, ?, "
    "'1.2.840.10008.1.2.1', 'sr.dcm')",
    "delivery_slot": "INSERT INTO delivery_slot VALUES (?, 0, 'sr', 0, 0, '', ?, NULL)",
    "commitment": "INSERT INTO commitment VALUES (?, 'pacs', 'auto', 'committed', 1, 0, ?, ?, ?, NULL)",
    "commitment_request": "INSERT INTO commitment_request VALUES (?, ?, ?, ?)",
    "audit": "INSERT INTO audit VALUES (?, '0', ?, 'instance.stored', ?, '', '', '{}', '0')",
}


def fill(path: Path, studies: int) -> None:
    """Make a ledger with so many studies of two views, published, delivered and committed a second after the other."""
    open_ledger(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA synchronous=OFF")
    for table, statement in _STATEMENTS.items():
        connection.executemany(statement, _rows(table, studies))
    connection.commit()
    connection.close()


def fill_server(place: Server, studies: int) -> None:
    """Make the same ledger in an empty schema of a server, and let it count what is there, as it does by itself."""
    open_ledger(place).close()
    with psycopg.connect(place.url, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")  # no look-up of what each row refers to
        for table, statement in _STATEMENTS.items():
            head, _, values = statement.partition(" VALUES ")
            tokens = [token.strip(" '") for token in values.strip("() ").split(",")]
            with connection.cursor().copy(f"{head.replace('INSERT INTO', 'COPY')} FROM STDIN") as copy:
                for row in _rows(table, studies):
                    copy.write_row(_filled(tokens, row))
            if table in {"study", "instance", "version", "job", "delivery"}:
                connection.execute(f"SELECT setval('{table}_id_seq', max(id)) FROM {table}")  # noqa: S608 - our own
        connection.execute("ANALYZE")


def _filled(tokens: list[str], row: tuple[object, ...]) -> list[object]:
    """Return a statement's values with the row's in the places of the question marks."""
    given = iter(row)
    return [next(given) if token == "?" else None if token == "NULL" else token for token in tokens]  # noqa: S105


def _rows(table: str, studies: int) -> Iterator[tuple[object, ...]]:
    for number in range(1, studies + 1):
        views = range(number * _VIEWS, (number + 1) * _VIEWS)
        yield from _OF_STUDY[table](number) if table in _OF_STUDY else ()
        yield from (_OF_VIEW[table](view, number) for view in views if table in _OF_VIEW)


_Row = tuple[object, ...]
_OF_STUDY: dict[str, Callable[[int], list[_Row]]] = {
    "study": lambda n: [(n, f"1.2.{n}", n, n, n)],
    "version": lambda n: [(n, n, n, f"results/{n}", n)],
    "delivery": lambda n: [(n, n, n, n, n, n)],
    "result_object": lambda n: [(n, f"1.2.{n}.9", f"1.2.{n}.8")],
    "delivery_slot": lambda n: [(n, n)],
    "commitment": lambda n: [(n, n, n, n)],
    "commitment_request": lambda n: [(f"2.25.{n}", n, n, n)],
    "job": lambda n: [(n * 3, "compose", f"compose:{n}", None, n, n, n)],
}
_OF_VIEW: dict[str, Callable[[int, int], _Row]] = {
    "instance": lambda v, n: (v, n, f"1.2.{n}.{v}", f"1.2.{n}.1", f"{v:064x}", f"{v % 256:02x}/{v:064x}", n),
    "version_instance": lambda v, n: (n, v),
    "analysis": lambda v, n: (v, f"analyses/{v}", n),
    "job": lambda v, n: (n * 3 + 1 + v % _VIEWS, "analyse", f"analyse:{v}:bundle", v, None, n, n),
    "audit": lambda v, n: (v, n, f"1.2.{n}"),
}
