"""Waiting for something to become true, with a message that says what it was when it does not."""

from __future__ import annotations

import itertools
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")

_EACH = 2500  # ports for each process of pytest-xdist, of eight
_FIRST = 12_000 + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 8 * _EACH
_BEGIN = os.getpid() * 7919  # others may run tests on this machine, too
_PORTS = (_FIRST + (_BEGIN + number) % _EACH for number in itertools.count())


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
    """Return a loopback port that nothing listens on, and that nobody takes until its user does.

    Below what the kernel gives by itself (32768 on): such a port would go to any connection or server of another test.
    """
    for port in itertools.islice(_PORTS, _EACH):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    message = f"no port from {_FIRST} to {_FIRST + _EACH - 1} is free"
    raise RuntimeError(message)


def is_open(port: int) -> bool:
    """Tell whether something accepts connections on a loopback port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
