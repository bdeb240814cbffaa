"""A PostgreSQL server of one's own: a new data folder, a socket and a loopback port, fsync on; it can be killed."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from dicom_node.ledger.database import open_ledger
from dicom_node.ledger.schema import metadata
from dicom_node.ledger.server import Server
from tests.support.requirements import require
from tests.support.waiting import free_port, until

if TYPE_CHECKING:
    from typing_extensions import Self

PASSWORD = "not for a log"  # noqa: S105 - of a server that lives as long as the tests
_USER = "node"


def binaries() -> Path | None:
    """Return the folder of the newest installed server's programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda file: int(file.parts[4]))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).resolve().parent if on_path else None


class PostgresServer:
    """Local connections need no password, those by TCP do. It runs as another user where we are root.

    disk: a folder that everyone may enter, to lie on its disk; else in memory, where there is room.
    """

    def __init__(self, disk: Path | None = None) -> None:
        found = binaries()
        require(found, "PostgreSQL's server (apt-get install postgresql)")
        assert found is not None
        self._bin = found
        self.folder = Path(tempfile.mkdtemp(prefix="dicom-node-pg-", dir=disk or _quick_disk()))
        self.port = free_port()
        self._names = count()
        self._ledger: Server | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._account = _account()
        if self._account:
            os.chown(self.folder, self._account.pw_uid, self._account.pw_gid)
        self.folder.chmod(0o755)
        (self.folder / "password").write_text(PASSWORD)
        (self.folder / "password").chmod(0o644)
        line = [found / "initdb", "-D", self.folder / "data", "-U", _USER, "-E", "UTF8", "--locale=C.UTF-8"]
        line += ["--no-sync", "--auth-local=trust", "--auth-host=scram-sha-256", f"--pwfile={self.folder / 'password'}"]
        subprocess.run(line, check=True, capture_output=True, **self._identity())

    def start(self) -> Self:
        """Start it and wait until it answers."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": self.folder,
            "max_connections": 40,
        }
        line = [self._bin / "postgres", "-D", self.folder / "data"]
        line += [f"--{name}={value}" for name, value in settings.items()]
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(line, stdout=log, stderr=log, **self._identity())
        until(self._answers, 60, f"PostgreSQL answers; log: {self.folder / 'server.log'}", every_s=0.05)
        return self

    def stop(self) -> None:
        """Stop it in order, throwing out whoever is connected."""
        self._end(signal.SIGINT)

    def crash(self) -> None:
        """Stop it without a checkpoint, as a power cut would: it recovers at the next start."""
        self._end(signal.SIGQUIT)

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Execute one statement and return its rows."""
        with psycopg.connect(self._dsn(database), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def place(self, state_dir: Path) -> Server:
        """Return an empty schema of its own, by the socket: as good as a database, and made in no time."""
        name = f"test_{next(self._names)}"
        self.execute(f"CREATE SCHEMA {name}")
        return Server(f"{self._url('')}&options=-csearch_path%3D{name}", None, state_dir)

    def emptied(self, state_dir: Path) -> Server:
        """Return a schema with the tables of a ledger and nothing in them: the same one each time, so it is quick."""
        if self._ledger is None:
            self._ledger = self.place(state_dir)
            open_ledger(self._ledger).close()
        else:
            names = [table.name for table in reversed(metadata.sorted_tables) if table.name != "schema_version"]
            gone = "; ".join(f"DELETE FROM {name}" for name in names)  # noqa: S608 - TRUNCATE would sync a file for each
            again = "; ".join(f"ALTER SEQUENCE IF EXISTS {name}_id_seq RESTART" for name in names)
            self.execute(f"SET search_path = {self.schema(self._ledger)}; {gone}; {again}")
        return replace(self._ledger, state_dir=state_dir)

    def database(self) -> str:
        """Return the URL, by the socket, of an empty database of its own."""
        name = f"test_{next(self._names)}"
        self.execute(f"CREATE DATABASE {name}")
        return self._url(name)

    def by_tcp(self, url: str) -> str:
        """Return a URL for TCP instead: then a password is wanted."""
        address = f"postgresql://{_USER}@127.0.0.1:{self.port}/"
        return url.replace(f"postgresql://{_USER}@/", address).replace(f"?host={self.folder}&port={self.port}", "")

    def schema(self, place: Server) -> str:
        """Return the name of a place's schema."""
        return place.url.rpartition("%3D")[2]

    def _url(self, database: str) -> str:
        return f"postgresql://{_USER}@/{database or 'postgres'}?host={self.folder}&port={self.port}"

    def _dsn(self, database: str) -> str:
        return f"host={self.folder} port={self.port} user={_USER} dbname={database}"

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "server.log").read_text(errors="replace")[-2000:]
        try:
            self.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def _identity(self) -> dict[str, object]:
        account = self._account
        return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": [], "cwd": "/"} if account else {}

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(120)
            self._process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self._end(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)


def _quick_disk() -> str | None:
    """Return where a sync takes no time, if there is room: these tests kill the server, and never cut the power."""
    memory = Path("/dev/shm")  # noqa: S108 - a new folder is made in it
    return str(memory) if memory.is_dir() and shutil.disk_usage(memory).free > 1 << 30 else None


def _account() -> pwd.struct_passwd | None:
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    return names.get("postgres") or names["nobody"]
