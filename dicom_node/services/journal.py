"""The log as journald's own fields, so that `journalctl DICOM_STUDY_UID=…` tells a study's story.

Where standard error is the journal, an event goes to journald's socket as one datagram (systemd's "native protocol": a
line `NAME=value` a field, and a value of several lines behind its length) instead of as a line of text.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

SOCKET = "/run/systemd/journal/socket"
_PRIORITIES = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}
#: The fields that people search by; every other key of an event is DICOM_ and its name in capitals.
_NAMES = {"study": "DICOM_STUDY_UID", "sop_instance": "DICOM_SOP_UID", "event": "EVENT"}
_LONGEST = 8192  # characters of a value: an event stays one datagram
_PATIENCE_MS = 200


def is_journal(environment: Mapping[str, str] | None = None) -> bool:
    """Tell whether standard error is the journal's, as systemd says of it by device and inode (JOURNAL_STREAM)."""
    stream = (os.environ if environment is None else environment).get("JOURNAL_STREAM", "")
    try:
        file = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return stream == f"{file.st_dev}:{file.st_ino}"


class Journal:
    """Sends events to journald, and waits for it no longer than for any other reader of the log."""

    def __init__(self, address: str = SOCKET) -> None:
        self._address = address
        self._lock = threading.Lock()
        self._socket = self._connected()
        self._lost = 0

    def msg(self, **event: Any) -> None:
        """Send one event; one that is not taken is counted, and how many were not is told with the next."""
        with self._lock:
            if self._lost and self._send(_datagram({"event": "log.lost", "level": "warning", "lines": self._lost}), 0):
                self._lost = 0
            if self._lost or not self._send(_datagram(event), _PATIENCE_MS):
                self._lost += 1

    # What structlog calls, by level.
    debug = info = warning = error = critical = msg

    def _send(self, datagram: bytes, patience_ms: int) -> bool:
        for _ in range(2):  # the second time to a journald that was started anew
            try:
                poll = select.poll()
                poll.register(self._socket, select.POLLOUT)
                if not poll.poll(patience_ms):
                    return False
                self._socket.send(datagram)
            except BlockingIOError:
                return False
            except OSError:
                self._socket.close()
                self._socket = self._connected()
            else:
                return True
        return False

    def _connected(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sock.setblocking(False)  # noqa: FBT003 - the standard library's own parameter
        with suppress(OSError):  # not there now: the next event tries again
            sock.connect(self._address)
        return sock


def _datagram(event: Mapping[str, Any]) -> bytes:
    """Return an event as a datagram."""
    level, name = str(event.get("level", "info")), str(event.get("event", ""))
    facts = {key: _text(value) for key, value in event.items() if key not in {"level", "event", "timestamp", "program"}}
    fields = {
        "MESSAGE": " ".join([name, *(f"{key}={value}" for key, value in facts.items())]),
        "PRIORITY": str(_PRIORITIES.get(level, 6)),
        "SYSLOG_IDENTIFIER": "dicom-node",
        "EVENT": name,
        "DICOM_PROGRAM": str(event.get("program", "")),
        **{_NAMES.get(key, f"DICOM_{key.upper()}"): value for key, value in facts.items()},
    }
    return b"".join(_field(key, value[:_LONGEST]) for key, value in fields.items() if value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _field(name: str, value: str) -> bytes:
    data = value.encode(errors="replace")
    if b"\n" not in data:
        return name.encode() + b"=" + data + b"\n"
    return name.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n"
