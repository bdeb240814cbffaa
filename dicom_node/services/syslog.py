"""Bringing the audit trail to an audit record repository: syslog over TLS (RFC 5424, RFC 5425, PS3.15 A.6)."""

from __future__ import annotations

import os
import socket
import ssl
from datetime import datetime, timezone
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import structlog

from dicom_node.ledger import atna, audit
from dicom_node.ledger.progress import read_progress, write_progress
from dicom_node.services.threads import pause

if TYPE_CHECKING:
    import threading

    from dicom_node.ledger.audit import Record
    from dicom_node.ledger.database import Database
    from dicom_node.settings import AuditSettings

log = structlog.get_logger(__name__)

_PRIORITY = 85  # facility 10 (security), severity 5 (notice)
_BATCH = 100
_POLL_S = 5.0
_LONGEST_WAIT_S = 300.0
_TIMEOUT_S = 10.0
_PORT = 6514  # RFC 5425


class SyslogSender:
    """Sends every record once, in order; what was sent stands in the ledger, so a dead sink loses nothing."""

    def __init__(self, settings: AuditSettings, ae_title: str, ledger: Database, stopping: threading.Event) -> None:
        self._settings = settings
        self._ae_title = ae_title
        self._ledger = ledger
        self._stopping = stopping
        self._connection: socket.socket | None = None

    def run(self) -> None:
        """Send until the node stops; while the sink is down, try again ever less often."""
        wait, was_down = _POLL_S, False
        while not self._stopping.is_set():
            try:
                while self.step() and not self._stopping.is_set():
                    pass
            except OSError as error:
                self._close()
                if not was_down:
                    log.warning("audit.sink-down", sink=self._settings.syslog, cause=type(error).__name__)
                wait, was_down = min(wait * 2, _LONGEST_WAIT_S), True
            else:
                if was_down:
                    log.info("audit.sink-up", sink=self._settings.syslog)
                wait, was_down = _POLL_S, False
            pause(self._stopping, wait)
        self._close()

    def step(self) -> bool:
        """Send the next records; false where there are none. Raises OSError where the sink does not take them."""
        with self._ledger.transaction() as connection:
            sent = read_progress(connection, "syslog")
            records = audit.after(connection, sent, _BATCH)
        if not records:
            return False
        frames = [frame(record, self._ae_title) for record in records]
        sink = self._open()
        _still_there(sink)
        sink.sendall(b"".join(frames))
        _still_there(sink)
        with self._ledger.transaction() as connection:
            write_progress(connection, "syslog", records[-1].seq)
        return True

    def _open(self) -> socket.socket:
        if self._connection is None:
            settings = self._settings
            address = urlsplit(settings.syslog)
            context = ssl.create_default_context(cafile=str(settings.ca_file) if settings.ca_file else None)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if settings.certificate:
                context.load_cert_chain(settings.certificate, settings.key or None)
            host = address.hostname or ""
            plain = socket.create_connection((host, address.port or _PORT), _TIMEOUT_S)
            try:
                self._connection = context.wrap_socket(plain, server_hostname=host)
            except BaseException:
                plain.close()
                raise
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def frame(record: Record, ae_title: str) -> bytes:
    """Return a record as one octet-counted syslog message; empty where the standard has no message for it."""
    xml = atna.message(record, ae_title)
    if xml is None:
        return b""
    moment = datetime.fromtimestamp(record.at, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    head = f"<{_PRIORITY}>1 {moment} {socket.gethostname()} dicom-node {os.getpid()} DICOM+RFC3881 - "
    body = head.encode("ascii", "replace") + b"\xef\xbb\xbf" + xml
    return f"{len(body)} ".encode() + body


def _still_there(sink: socket.socket) -> None:
    """Raise OSError where the sink has hung up: syslog has no acknowledgement, a closed end is all that can be seen."""
    sink.settimeout(0.0)
    try:
        if not sink.recv(1):
            message = "the sink closed the connection"
            raise ConnectionResetError(message)
    except (BlockingIOError, ssl.SSLWantReadError):
        return
    finally:
        sink.settimeout(_TIMEOUT_S)
