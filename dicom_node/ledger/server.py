"""Where the ledger is when it is not a file: a database on a PostgreSQL server."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Server:
    """A database by URL, the file with its password, if it wants one, and the state folder that belongs to it."""

    url: str
    password_file: Path | None
    state_dir: Path

    def exists(self) -> Literal[True]:
        """Return that there may be a ledger: as with a file, but only connecting shows whether there is."""
        return True

    def __str__(self) -> str:
        """Return host and database, as a person is told them."""
        parts = urlsplit(self.url)
        host = parts.netloc.rpartition("@")[2]
        return f"postgresql://{host}{parts.path}"
