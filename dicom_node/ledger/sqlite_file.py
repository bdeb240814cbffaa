"""The ledger in a SQLite file: how it is opened, and what its errors mean."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from dicom_node.core.errors import LedgerError, LedgerUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.exc import DatabaseError, SQLAlchemyError

    from dicom_node.ledger.audit import Chain

_BEGIN = "BEGIN IMMEDIATE"
_LOG_BYTES = 4_500_000  # a little more than the thousand pages after which SQLite begins the log anew
_CHECKED_PAGES = 32_768  # of 4 KiB: a check of more would keep the node from starting within its three seconds


class InFile:
    """WAL with synchronous=FULL and BEGIN IMMEDIATE, so a transaction is on disk when it returns."""

    def __init__(self, url: str, chain: Chain, busy_s: float) -> None:
        self.engine = _engine(url, chain, busy_s)
        self._held: Connection | None = None

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """Yield the one connection in a transaction; held, since to fetch it costs more than to begin and commit."""
        if self._held is None:
            self._held = self.engine.connect()
        with self._held.begin():
            yield self._held

    def close(self) -> None:
        """Close the connection."""
        if self._held is not None:
            self._held.close()
        self.engine.dispose()

    def check(self) -> None:
        """Refuse a damaged file before anything is written; a large one is checked in the background instead."""
        with self.engine.connect() as connection:
            pages = connection.execute(text("PRAGMA page_count")).scalar_one()
            if pages <= _CHECKED_PAGES and connection.execute(text("PRAGMA quick_check(1)")).scalar() != "ok":
                raise LedgerError(_advice("PRAGMA quick_check"))

    def not_opened(self, error: DatabaseError) -> LedgerError:
        """Return why it cannot be opened, and what to do."""
        return LedgerError(_advice(str(error.orig)))

    def not_written(self, error: SQLAlchemyError) -> LedgerUnavailable:
        """Return why a transaction failed, and what to do."""
        cause = getattr(error, "orig", None) or type(error).__name__  # SQLite's words name tables, never a value
        return LedgerUnavailable(f"the ledger cannot be written ({cause}): look at the disk of node.state_dir")


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
        driver: Any = connection.connection.driver_connection
        try:
            driver.execute(_BEGIN)
        except sqlite3.Error as error:
            raise DBAPIError.instance(_BEGIN, None, error, sqlite3.Error) from error

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


def _advice(problem: str) -> str:
    """Return one line on why the ledger cannot be opened and what to do."""
    if "locked" in problem:
        return "the ledger is locked by another program: stop it (`fuser ledger.sqlite` names it) and start again"
    if "full" in problem or "I/O" in problem:
        return f"the ledger cannot be opened ({problem}): look at the disk of node.state_dir, make room, start again"
    return f"the ledger file is damaged ({problem}): stop the node and put a backup back (`dicom-node restore`)"
