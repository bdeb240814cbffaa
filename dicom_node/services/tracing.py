"""Traces for OpenTelemetry, where somebody wants them: OTLP over HTTP, as JSON, after the fact."""

from __future__ import annotations

import http.client
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import structlog

from dicom_node import __version__
from dicom_node.ledger import audit
from dicom_node.ledger.overview import Overview
from dicom_node.ledger.progress import read_progress, write_progress
from dicom_node.services.spans import TELLING, Span, attributes, spans_of
from dicom_node.services.threads import pause

if TYPE_CHECKING:
    import threading
    from pathlib import Path

    from dicom_node.ledger.database import Database
    from dicom_node.ledger.server import Server

log = structlog.get_logger(__name__)

_BATCH = 500
_POLL_S = 5.0
_LONGEST_WAIT_S = 300.0
_TIMEOUT_S = 10.0
_COME_BACK = frozenset({429, 502, 503, 504})  # OTLP: every other refusal is for good
_GOOD = range(200, 300)
_PROGRESS = "traces"


class Tracer:
    """Reads what is new in the audit trail and tells a collector; receiving, analysing and sending know nothing of it.

    How far it came stands in the ledger. A collector that is down costs nothing but its own traces' delay.
    """

    def __init__(
        self, endpoint: str, ae_title: str, ledger: Database, place: Path | Server, stopping: threading.Event
    ) -> None:
        self._endpoint = urlsplit(endpoint)
        self._resource = {"service.name": "dicom-node", "service.version": __version__, "service.instance.id": ae_title}
        self._ledger = ledger
        self._place = place
        self._stopping = stopping

    def run(self) -> None:
        """Tell until the node stops; while the collector is down, try again ever less often."""
        self._begin()
        wait, was_down = _POLL_S, False
        while not self._stopping.is_set():
            try:
                while self.step() and not self._stopping.is_set():
                    pass
            except (OSError, http.client.HTTPException) as error:
                if not was_down:
                    log.warning("traces.collector-down", collector=self._endpoint.netloc, cause=type(error).__name__)
                wait, was_down = min(wait * 2, _LONGEST_WAIT_S), True
            else:
                if was_down:
                    log.info("traces.collector-up", collector=self._endpoint.netloc)
                wait, was_down = _POLL_S, False
            pause(self._stopping, wait)

    def step(self) -> bool:
        """Tell of the next records; false where there are none. Raises OSError where nobody takes it."""
        with self._ledger.transaction() as connection:
            records = audit.after(connection, read_progress(connection, _PROGRESS), _BATCH)
        if not records:
            return False
        overview = Overview(self._place)
        telling = [one for one in records if one.event in TELLING]
        spans = [span for one in telling for span in spans_of(one, overview.trail(one.study_instance_uid))]
        if spans:
            self._post(spans)
        with self._ledger.transaction() as connection:
            write_progress(connection, _PROGRESS, records[-1].seq)
        return True

    def _begin(self) -> None:
        """Begin with what happens from now on, where nothing was ever told."""
        with self._ledger.transaction() as connection:
            if not read_progress(connection, _PROGRESS):
                write_progress(connection, _PROGRESS, audit.head(connection).seq)

    def _post(self, spans: list[Span]) -> None:
        scope = {"scope": {"name": "dicom_node"}, "spans": spans}
        resource = {"attributes": attributes(dict(self._resource))}
        body: dict[str, Any] = {"resourceSpans": [{"resource": resource, "scopeSpans": [scope]}]}
        kind = http.client.HTTPSConnection if self._endpoint.scheme == "https" else http.client.HTTPConnection
        connection = kind(self._endpoint.netloc, timeout=_TIMEOUT_S)
        try:
            headers = {"Content-Type": "application/json"}
            connection.request("POST", self._endpoint.path or "/v1/traces", json.dumps(body).encode(), headers)
            answer = connection.getresponse()
            answer.read()
        finally:
            connection.close()
        if answer.status in _COME_BACK:
            message = f"the collector answers {answer.status}"
            raise ConnectionError(message)
        if answer.status not in _GOOD:
            log.error("traces.refused", collector=self._endpoint.netloc, status=answer.status, spans=len(spans))
