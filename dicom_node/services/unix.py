"""Unix sockets in the state folder: for this user only, wherever the folder lies."""

from __future__ import annotations

import os
import socket
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

log = structlog.get_logger(__name__)

_AGAIN_S = 0.5


def listen(path: Path) -> socket.socket:
    """Return a Unix socket that listens at a path, for this user only; an earlier one's file gives way."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with socket_address(path) as address:
        listener.bind(address)
    path.chmod(0o600)
    listener.listen(8)
    return listener


def accept(listener: socket.socket) -> socket.socket | None:
    """Return the next connection; None where none came in time, or it cannot be taken now: then it waits."""
    try:
        return listener.accept()[0]
    except TimeoutError:
        return None
    except OSError as error:  # no descriptor or no memory is left
        log.error("connection.waits", cause=str(error))  # noqa: TRY400 - said in one line
        time.sleep(_AGAIN_S)
        return None


@contextmanager
def socket_address(path: Path) -> Iterator[str]:
    """Yield another name of a socket: its own may be longer than the 107 bytes that a socket address holds."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
