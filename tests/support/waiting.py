"""Waiting for something to become true, with a message that says what it was when it does not."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(probe: Callable[[], T], limit_s: float, what: str, every_s: float = 0.1) -> T:
    """Return the first true value of `probe`; raises TimeoutError naming `what` after `limit_s`."""
    end = time.monotonic() + limit_s
    while True:
        value = probe()
        if value:
            return value
        if time.monotonic() >= end:
            message = f"after {limit_s:.0f} s still not: {what} (last answer {value!r:.300})"
            raise TimeoutError(message)
        time.sleep(every_s)


def free_port() -> int:
    """Return a loopback port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_open(port: int) -> bool:
    """Tell whether something accepts connections on a loopback port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
