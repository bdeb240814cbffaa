"""Traces: a collector that speaks OTLP over HTTP is told each study's way, and nothing of the patient."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from dicom_node.ledger import audit
from dicom_node.ledger.database import open_ledger
from dicom_node.services.spans import trace_id
from dicom_node.services.tracing import Tracer
from tests.support.walk import Walk

STUDY = "1.2.1"


class Collector(HTTPServer):
    """Keeps what it is told, and answers as it is told to."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.status = 200
        super().__init__(("127.0.0.1", 0), _Handler)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def spans(self) -> list[dict[str, Any]]:
        return [s for body in self.bodies for r in body["resourceSpans"] for c in r["scopeSpans"] for s in c["spans"]]


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert self.headers["Content-Type"] == "application/json"
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert isinstance(self.server, Collector)
        if self.server.status == 200:
            self.server.bodies.append(body)
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def collector():
    with Collector() as server:
        yield server
        server.shutdown()


@pytest.fixture
def ledger(tmp_path):
    """A ledger in which two studies of two images were received, answered and delivered."""
    Walk(tmp_path, lambda _uid: None, lambda _uid: None).run()
    opened = open_ledger(tmp_path / "ledger.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def tracer(tmp_path, ledger, collector):
    endpoint = f"http://127.0.0.1:{collector.server_port}/v1/traces"
    return Tracer(endpoint, "DICOMNODE", ledger, tmp_path / "ledger.sqlite", threading.Event())


def step_through(tracer: Tracer) -> None:
    while tracer.step():
        pass


def told_of(span: dict[str, Any]) -> dict[str, str]:
    return {one["key"]: next(iter(one["value"].values())) for one in span["attributes"]}


def test_a_version_of_a_study_is_one_trace_from_its_first_image_to_each_destination(tracer, collector):
    step_through(tracer)
    mine = {span["spanId"]: span for span in collector.spans if span["traceId"] == trace_id(STUDY, 1)}
    assert {span["traceId"] for span in collector.spans} == {trace_id(STUDY, 1), trace_id("1.2.2", 1)}
    names = sorted(span["name"] for span in mine.values())
    assert names == ["analyse", "analyse", "compose", "deliver", "receive", "receive", "study", "wait"]
    (root,) = (span for span in mine.values() if "parentSpanId" not in span)
    assert (root["name"], told_of(root)["dicom_node.images"]) == ("study", "2")
    assert all(span["parentSpanId"] in mine for span in mine.values() if span is not root)
    for span in mine.values():
        assert int(root["startTimeUnixNano"]) <= int(span["startTimeUnixNano"]) <= int(span["endTimeUnixNano"])
        assert (len(span["traceId"]), len(span["spanId"])) == (32, 16)
    resource = collector.bodies[0]["resourceSpans"][0]["resource"]
    assert told_of(resource)["service.name"] == "dicom-node"


def test_the_work_on_an_image_is_told_by_its_own_times_and_a_failure_as_one(tracer, collector, ledger):
    with ledger.transaction() as connection:
        audit.note(connection, 5e9, "instance.stored", study="1.2.9", sop_instance="1.2.9.1", size=7)
        audit.note(connection, 5e9 + 1, "study.closed", study="1.2.9", detail="version 1 of 1 radiographs")
        times = {"engine_ms": 200.0, "decode_ms": 50.0, "outcome": "negative"}
        audit.note(connection, 5e9 + 2, "image.analysed", study="1.2.9", sop_instance="1.2.9.1", **times)
        audit.note(connection, 5e9 + 4, "result.published", study="1.2.9", version=1, inputs={"1.2.9.1": ""})
        audit.note(connection, 5e9 + 9, "delivery.dead", study="1.2.9", version=1, destination="pacs", detail="refused")
    step_through(tracer)
    mine = {span["name"]: span for span in collector.spans if span["traceId"] == trace_id("1.2.9", 1)}
    took = {name: (int(s["endTimeUnixNano"]) - int(s["startTimeUnixNano"])) / 1e9 for name, s in mine.items()}
    expected = {"study": 4, "wait": 1, "analyse": 2, "decode": 0.05, "infer": 0.2, "compose": 2, "deliver": 5}
    assert {name: took[name] for name in expected} == pytest.approx(expected, abs=1e-5)
    assert mine["decode"]["parentSpanId"] == mine["infer"]["parentSpanId"] == mine["analyse"]["spanId"]
    assert mine["deliver"]["status"] == {"code": 2, "message": "refused"}


def test_no_uid_is_told(tracer, collector):
    step_through(tracer)
    assert collector.spans
    assert not [word for word in (STUDY, "1.2.2", "2.25") if word in json.dumps(collector.bodies)]


def test_a_collector_that_is_down_is_told_later_and_one_that_refuses_is_not_asked_again(tracer, collector):
    collector.status = 503
    with pytest.raises(ConnectionError):
        step_through(tracer)
    collector.status = 200
    step_through(tracer)
    assert len({span["spanId"] for span in collector.spans}) == len(collector.spans) == 16
    assert not tracer.step()


def test_a_refusal_for_good_is_left_behind(tracer, collector):
    collector.status = 400
    step_through(tracer)
    collector.status = 200
    assert not tracer.step()
    assert not collector.spans
