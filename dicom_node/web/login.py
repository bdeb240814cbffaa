"""HTTP Basic authentication against a file of scrypt hashes (RFC 7617, RFC 7914)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import secrets
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dicom_node.core.errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path

_COST, _BLOCK, _PARALLEL = 1 << 14, 8, 1  # 16 MiB and about 50 ms
_SALT_BYTES = 16
_WRONG_S = 1.0
_FIELDS = 3


@dataclass(frozen=True, slots=True)
class _Hash:
    salt: bytes
    digest: bytes


class Login:
    """Who may look. A wrong password costs a second, one at a time, so that guessing is slow."""

    def __init__(self, file: Path) -> None:
        self._users = _read(file)
        self._key = secrets.token_bytes(32)  # of what was found right before: kept keyed, never in clear
        self._known: set[bytes] = set()
        self._one_at_a_time = threading.Lock()

    def remembers(self, authorization: str) -> bool:
        """Tell whether an Authorization header was found right before."""
        return self._mark(authorization) in self._known

    def is_known(self, authorization: str) -> bool:
        """Tell whether an Authorization header names a user with the right password."""
        given = _credentials(authorization)
        if given is None:
            return False
        with self._one_at_a_time:
            if self._is_right(*given):
                self._known.add(self._mark(authorization))
                return True
            time.sleep(_WRONG_S)
            return False

    def _mark(self, authorization: str) -> bytes:
        return hmac.digest(self._key, authorization.encode(), "sha256")

    def _is_right(self, user: str, password: str) -> bool:
        # An unknown user takes as long as a known one.
        wanted = self._users.get(user, _Hash(b"", b""))
        return hmac.compare_digest(_digest(password, wanted.salt), wanted.digest)


def hash_line(user: str, password: str) -> str:
    """Return the line of a user for the password file."""
    salt = os.urandom(_SALT_BYTES)
    return f"{user}:scrypt${salt.hex()}${_digest(password, salt).hex()}"


def _digest(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=_COST, r=_BLOCK, p=_PARALLEL)


def _read(file: Path) -> dict[str, _Hash]:
    try:
        if file.stat().st_mode & 0o077:
            message = f"{file}: may be read by others: chmod 400 {file}"
            raise SettingsError(message)
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        message = f"{file}: page.password_file cannot be read ({type(error).__name__}); `dicom-node page --add-user`"
        raise SettingsError(message) from error
    users = {}
    for number, line in enumerate(lines, start=1):
        user, _, text = line.strip().partition(":")
        if not user:
            continue
        fields = text.split("$")
        try:
            if len(fields) != _FIELDS or fields[0] != "scrypt":
                raise ValueError  # noqa: TRY301 - told as the other
            users[user] = _Hash(bytes.fromhex(fields[1]), bytes.fromhex(fields[2]))
        except ValueError as error:
            message = f"{file}:{number}: not `user:hash`; `dicom-node page --add-user {user}` writes the line"
            raise SettingsError(message) from error
    if not users:
        message = f"{file}: names no user; `dicom-node page --add-user NAME` adds one"
        raise SettingsError(message)
    return users


def _credentials(authorization: str) -> tuple[str, str] | None:
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, separator, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (user, password) if separator else None
