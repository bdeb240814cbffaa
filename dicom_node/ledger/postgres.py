"""The ledger on a PostgreSQL server: how it is connected to, and what its errors mean."""

from __future__ import annotations

import importlib.util
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import DisconnectionError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import NullPool, QueuePool

from dicom_node.core.errors import LedgerError, LedgerUnavailable

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from sqlalchemy.exc import DatabaseError

    from dicom_node.ledger.audit import Chain
    from dicom_node.ledger.server import Server

_LOCK = 0x0D1C03  # the first half of the advisory lock's key; the schema is the other
_AGAIN_S = 1.0  # between two tries to connect: whoever asks in between is told at once, and no thread hangs in a row
_IDLE_S = 1.0  # after which a connection is tried before it is used
# A dead network must be noticed before the loops are taken for hanging (ten seconds).
_PATIENCE = {
    "connect_timeout": 3,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 8000,
    "client_encoding": "utf8",
    "application_name": "dicom-node",
}
_WRITING = {
    "synchronous_commit": "on",
    "statement_timeout": "8s",
    "tcp_keepalives_idle": "10",  # so that a node which lost its network does not hold the lock for hours
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}
_DURABLE = ("fsync", "full_page_writes")
_READING = {"statement_timeout": "120s", "default_transaction_read_only": "on"}


class OnServer:
    """One connection that holds an advisory lock for as long as it lives: whoever writes is the only node.

    It is made anew where it broke: the transaction that meets the break fails, the next one goes on.
    """

    def __init__(self, server: Server, chain: Chain, wait_s: float) -> None:
        self._server = server
        self._wait_s = wait_s
        self._failed_at, self._failure = float("-inf"), ""
        self.engine = _engine(server, _WRITING, poolclass=QueuePool, pool_size=1, max_overflow=0)
        event.listen(self.engine, "do_connect", self._spare)
        event.listen(self.engine, "connect", lambda driver, record: self._configure(driver, record, chain))
        event.listen(self.engine, "checkout", _ping)
        event.listen(self.engine, "checkin", _note_use)
        event.listen(self.engine, "rollback_savepoint", lambda *_: chain.forget())

    def begin(self) -> AbstractContextManager[Connection]:
        """Return a transaction, to be entered; the connection is asked for each time, for it may have broken."""
        return self.engine.begin()

    def close(self) -> None:
        """Close the connection."""
        self.engine.dispose()

    def check(self) -> None:
        """Wait for server and lock, then refuse what is no place for a ledger, or lost the one that it had."""
        self._wait()
        with self.engine.connect() as connection:
            encoding = connection.execute(text("SHOW server_encoding")).scalar()
            if encoding != "UTF8":
                message = f"{self._server} is encoded in {encoding}: make the database with ENCODING 'UTF8'"
                raise LedgerError(message)
            instances = self._server.state_dir / "instances"
            if not has_ledger(connection) and next(instances.rglob("*.dcm"), None) is not None:
                message = (
                    f"{self._server} has no ledger but {instances} holds instances: put a dump of the database back "
                    "(pg_restore), or move the whole state folder aside to begin a new one"
                )
                raise LedgerError(message)

    def not_opened(self, error: DatabaseError) -> LedgerUnavailable:
        """Return why it cannot be opened: nothing that another try would not mend."""
        return self.not_written(error)

    def not_written(self, error: SQLAlchemyError) -> LedgerUnavailable:
        """Return why a transaction failed, and what to do."""
        return LedgerUnavailable(_words(self._server, error))

    def _wait(self) -> None:
        """Wait for the server, which may have been started with us, and for an earlier node that is just ending."""
        deadline = time.monotonic() + self._wait_s
        while True:
            try:
                with self.engine.connect():
                    return
            except LedgerUnavailable:
                if time.monotonic() > deadline:
                    raise
            except OperationalError as error:
                if time.monotonic() > deadline:
                    raise self.not_opened(error) from error
            time.sleep(_AGAIN_S / 2)

    def _spare(self, dialect: Any, _record: Any, arguments: Any, parameters: Any) -> Any:
        """Connect, unless that failed a moment ago."""
        if time.monotonic() < self._failed_at + _AGAIN_S:
            raise LedgerUnavailable(self._failure)
        try:
            return dialect.connect(*arguments, **parameters)
        except Exception as error:
            self._failed_at, self._failure = time.monotonic(), _words(self._server, error)
            raise

    def _configure(self, driver: Any, record: Any, chain: Chain) -> None:
        chain.forget()
        record.info["audit"] = chain
        ask = "SELECT pg_try_advisory_lock(%s, hashtext(coalesce(current_schema(), '')))"
        held = driver.execute(ask, (_LOCK,)).fetchone()[0]
        driver.commit()
        if not held:
            driver.close()
            message = (
                f"another node writes the ledger at {self._server}: stop it, or give this one a database of its own "
                "(where it was this node, the server notices within half a minute that its connection broke)"
            )
            raise LedgerUnavailable(message)


def _ping(driver: Any, record: Any, _proxy: Any) -> None:
    """Let a connection that was idle show that it still works; the pool replaces it where it does not."""
    if time.monotonic() - record.info.get("used_at", 0.0) < _IDLE_S:
        return  # a question more costs each of many instances a tenth of its time
    try:
        driver.execute("SELECT 1")
        driver.rollback()
    except Exception as error:
        raise DisconnectionError from error


def _note_use(_driver: Any, record: Any) -> None:
    record.info["used_at"] = time.monotonic()


@lru_cache(maxsize=4)
def reader(server: Server) -> Engine:
    """Return what makes connections that only read; all that one transaction reads is of one moment."""
    return _engine(server, _READING, poolclass=NullPool, isolation_level="REPEATABLE READ")


def begin_reading(server: Server) -> Connection:
    """Return a connection that cannot write. Raises LedgerError where the server or its ledger is not there."""
    try:
        connection = reader(server).connect()
    except LedgerUnavailable as error:
        raise LedgerError(str(error)) from error
    except OperationalError as error:
        raise LedgerError(_words(server, error)) from error
    if has_ledger(connection):
        return connection
    connection.close()
    message = f"there is no ledger at {server}: the node has not been started with this configuration yet"
    raise LedgerError(message)


def has_ledger(connection: Connection) -> bool:
    """Tell whether the schema that the connection uses has the tables."""
    return bool(connection.execute(text("SELECT to_regclass('schema_version') IS NOT NULL")).scalar())


@dataclass(frozen=True, slots=True)
class Nature:
    """What a server is: its version, the database's size in bytes, and which settings let it lose what it promised."""

    version: str
    size: int
    unsafe: tuple[str, ...]


def nature(connection: Connection) -> Nature:
    """Ask the server."""
    shown = {name: str(connection.execute(text(f"SHOW {name}")).scalar()) for name in ("server_version", *_DURABLE)}
    size = connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one()
    version = shown.pop("server_version").partition(" ")[0]
    return Nature(version, int(size), tuple(name for name, value in shown.items() if value != "on"))


def _engine(server: Server, settings: dict[str, str], **options: Any) -> Engine:
    if importlib.util.find_spec("psycopg") is None:
        message = f"the ledger at {server} needs the extra `postgres`: pip install 'dicom-node[postgres]'"
        raise LedgerError(message)
    url = make_url(server.url).set(drivername="postgresql+psycopg")
    given = {name: value for name, value in _PATIENCE.items() if name not in url.query}
    ours = " ".join(f"-c {name}={value}" for name, value in settings.items())
    given["options"] = f"{url.query.get('options', '')} {ours}"
    engine = create_engine(url, connect_args=given, **options)
    event.listen(engine, "do_connect", lambda _dialect, _record, _arguments, given: _identify(server, given))
    event.listen(engine, "before_cursor_execute", _without_nul, retval=True)
    return engine


def _without_nul(_connection: Any, _cursor: Any, statement: str, given: Any, *_: Any) -> tuple[str, Any]:
    """Replace what the server takes in no text, and SQLite does: a peer may put NUL anywhere."""
    rows = given if isinstance(given, list) else [given]
    if any("\0" in value for row in rows if row for value in row.values() if isinstance(value, str)):
        rows = [{k: v.replace("\0", "\ufffd") if isinstance(v, str) else v for k, v in row.items()} for row in rows]
    return statement, rows if isinstance(given, list) else rows[0]


def _identify(server: Server, parameters: dict[str, Any]) -> None:
    """Add the password, read anew for each connection."""
    if server.password_file is None:
        return
    try:
        parameters["password"] = server.password_file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        message = f"{server.password_file} cannot be read ({type(error).__name__}): it holds the ledger's password"
        raise LedgerUnavailable(message) from error


def _words(server: Server, error: Exception) -> str:
    """Return the error's first line, which names no value, and what to do."""
    cause: Any = getattr(error, "orig", error)
    first = "" if isinstance(cause, SQLAlchemyError) else str(cause).partition("\n")[0]
    said = getattr(getattr(cause, "diag", None), "message_primary", None) or first
    return f"the ledger's server {server} cannot be used ({said or type(error).__name__}): look there; the node waits"
