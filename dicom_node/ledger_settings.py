"""What a URL of the ledger's database may be; no message repeats it, since somebody may have put a password in."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, parse_qs, urlsplit

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_VERIFIED = {"verify-ca", "verify-full"}
_SECRET = {"password", "sslpassword", "passfile"}


def check(url: str) -> None:
    """Raise ValueError where a URL is not one, holds a password, or lets it go over the network in clear text."""
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    query = parse_qs(parts.query)
    named = [parts.hostname or "", *query.get("host", ()), *query.get("hostaddr", ())]
    hosts = [host for several in named for host in several.split(",") if host]
    if parts.password is not None or _SECRET & query.keys():
        message = "ledger_url holds a password: put it into a file of its own and name that in ledger_password_file"
    elif not _is_whole(parts) or any(character.isspace() for character in url):
        message = "ledger_url is not of the form postgresql://user@host:port/database"
    elif any(_is_remote(host) for host in hosts) and not _VERIFIED & set(query.get("sslmode", ())):
        message = "ledger_url leaves this machine without TLS: add ?sslmode=verify-full&sslrootcert=/path/to/ca.pem"
    else:
        return
    raise ValueError(message)


def _is_whole(parts: SplitResult) -> bool:
    try:
        _ = parts.port
    except ValueError:
        return False
    return parts.scheme == "postgresql" and bool(re.fullmatch(r"/[^/@]+", parts.path)) and not parts.fragment


def _is_remote(host: str) -> bool:
    return host not in _LOOPBACK and not host.startswith("/")
