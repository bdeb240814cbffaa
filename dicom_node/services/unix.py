"""Unix sockets in the state folder: for this user only, wherever the folder lies."""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def listen(path: Path) -> socket.socket:
    """Return a Unix socket that listens at a path, for this user only; an earlier one's file gives way."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with socket_address(path) as address:
        listener.bind(address)
    path.chmod(0o600)
    listener.listen(8)
    return listener


@contextmanager
def socket_address(path: Path) -> Iterator[str]:
    """Yield another name of a socket: its own may be longer than the 107 bytes that a socket address holds."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
