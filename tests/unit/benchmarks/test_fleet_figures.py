"""A log is read back as waits, service times and turnarounds; what was lost is counted."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.benchmarks.fleet_arrivals import Image, Kind
from tests.benchmarks.fleet_beyond import Load, crossing
from tests.benchmarks.fleet_figures import Percentiles, counted, seen
from tests.benchmarks.fleet_paper import kind_name
from tests.benchmarks.fleet_replay import Pace, Sent

LIMB = Kind("EXTREMITY", "DX", 2000, 2500, compressed=False)
REPORT = "1.2.840.10008.5.1.4.1.1.88.34"
PACE = Pace(0.0, 10.0)  # a quiet period of three seconds


class Log:
    """A node that is asked for what it logged and lists: one study of two views, published once."""

    def __init__(self) -> None:
        self._events = [
            {"event": "instance.stored", "ts": 10.0, "study": "1", "sop_instance": "1.1", "role": "view"},
            {"event": "image.analysed", "ts": 10.5, "study": "1", "sop_instance": "1.1", "engine_ms": 90.0},
            {"event": "instance.stored", "ts": 11.0, "study": "1", "sop_instance": "1.2", "role": "view"},
            {"event": "image.analysed", "ts": 15.0, "study": "1", "sop_instance": "1.2", "engine_ms": None},
            {"event": "study.closed", "ts": 14.1, "study": "1", "version": 1},
            {"event": "result.published", "ts": 17.0, "study": "1", "version": 1},
            {"event": "delivery.done", "ts": 17.5, "study": "1", "version": 1},
        ]
        self.views = ["1.1", "1.2"]

    def events(self, name: str = "") -> list[dict[str, Any]]:
        return [event for event in self._events if not name or event["event"] == name]

    def study(self, uid: str) -> dict[str, Any]:
        report = {"sop_instance_uid": f"{uid}.9", "sop_class_uid": REPORT}
        version = {"version": 1, "state": "published", "views": self.views, "objects": [report], "outcome": "negative"}
        return {"versions": [version]}

    def instances(self) -> list[dict[str, Any]]:
        return [{"sop_instance_uid": uid} for uid in self.views]


def replay(node: Log, *statuses: int) -> Any:
    """Return a replay in which images of 10 and 20 MB were answered after a tenth of a second, and after two."""
    sent = [
        Sent("1", f"1.{n}", Image(0, n - 1, LIMB), again=False, megabytes=10.0 * n, due_at=1.0, asked_at=1.0 + n,
             answered_at=1.1 * n + 1.0, status=status)
        for n, status in enumerate(statuses, 1)
    ]  # fmt: skip
    return SimpleNamespace(node=node, sent=sent, retried=0, taken_at={"1.9": 17.4})


def test_each_step_s_time_is_told_from_its_waiting() -> None:
    found = seen(replay(Log(), 0, 0), PACE)
    assert found.service is not None
    assert found.service.analyse == {kind_name(LIMB): (0.5, 4.0)}
    assert found.service.compose == {"EXTREMITY 2": (2.0,)}  # its last image was analysed after it had closed
    assert found.service.send == (0.5,)
    assert found.service.receive_s_per_mb == pytest.approx(0.01)
    assert found.outcome.work == [(10.0, 10.5), (11.0, 15.0), (15.0, 17.0)]


def test_a_turnaround_begins_when_the_quiet_period_should_have_ended() -> None:
    found = seen(replay(Log(), 0, 0), PACE)
    assert found.outcome.turnaround_s == [pytest.approx(17.4 - 14.0)]
    assert found.outcome.waits == [(10.0, 10.5), (11.0, 15.0), (14.0, 17.4)]


def test_what_the_node_does_not_list_or_never_took_is_lost() -> None:
    node = Log()
    assert (counted(replay(node, 0, 0)).lost, counted(replay(node, 0, 0)).unanswered) == (0, 0)
    assert counted(replay(node, 0, 0xA700)).lost == 1
    node.views = ["1.1"]
    assert (counted(replay(node, 0, 0)).lost, counted(replay(node, 0, 0)).unanswered) == (1, 1)


def test_a_result_that_the_pacs_does_not_have_is_no_answer() -> None:
    lacking = replay(Log(), 0, 0)
    lacking.taken_at = {}
    assert counted(lacking).unanswered == 1


def test_a_limit_is_crossed_between_two_loads_or_never() -> None:
    loads = [
        Load(1.0, 1, peak, 0.5, 0.0, 0.0, Percentiles(1, p95, p95, p95, p95))
        for peak, p95 in ((100, 1.0), (200, 100.0))
    ]
    assert crossing(loads, 10.0) == pytest.approx(150.0)
    assert crossing(loads, 1000.0) is None
