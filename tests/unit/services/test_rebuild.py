"""A plan that fits no more is built again aside: what becomes of it, how often it is tried, and how it ends."""

from __future__ import annotations

import sys

import pytest
from structlog.testing import capture_logs

from dicom_node.services import rebuild
from dicom_node.services.strikes import Strikes
from tests.support.waiting import until

PYTHON = sys.executable
SCRIPTS = {
    "accepted": "print('built embedder-ab.plan'); print('accepted')",
    "refused": "import sys; print('NOT accepted: the node stays on ONNX Runtime'); sys.exit(1)",
    "endless": "import time; time.sleep(600)",
}


@pytest.fixture
def begin(tmp_path, monkeypatch):
    """Return a function that starts a build whose process does as it is told."""
    tried = Strikes(tmp_path / "engine-rebuilds.json", "plans")

    def begin(script):
        program = tmp_path / "program"
        program.write_text(f"#!{PYTHON}\n{SCRIPTS[script]}\n")
        program.chmod(0o755)
        monkeypatch.setattr(rebuild.sys, "executable", str(program))
        return rebuild.start(tmp_path / "bundle", tmp_path / "engine-build.log", tried, "TensorRT was 1, is 2"), tried

    return begin


def ended(build):
    return until(lambda: build._build is None or build._build.poll() is not None, 60, "the build ends", every_s=0.02)


def test_an_accepted_plan_is_told_once_and_nothing_is_held_against_the_next(begin):
    with capture_logs() as events:
        build, tried = begin("accepted")
        assert tried.count() == 1
        ended(build)
        assert [build.succeeded(), build.succeeded()] == [True, False]
    assert tried.count() == 0
    assert [(event["event"], event.get("reason"), event.get("said")) for event in events] == [
        ("engine.rebuild", "TensorRT was 1, is 2", None),
        ("engine.rebuilt", None, "accepted"),
    ]


def test_a_refused_plan_is_said_and_not_tried_again_before_the_next_boot(begin):
    build, tried = begin("refused")
    ended(build)
    with capture_logs() as events:
        assert [build.succeeded(), build.succeeded()] == [False, False]
        build.stop()
        assert begin("accepted")[0] is None
    assert tried.count() == 1
    assert [event["event"] for event in events] == ["engine.rebuild_failed", "engine.not_rebuilt"]
    assert events[0]["said"] == "NOT accepted: the node stays on ONNX Runtime"


def test_a_build_under_way_ends_with_the_worker_and_is_tried_again(begin):
    build, tried = begin("endless")
    process = build._build
    assert not build.succeeded()
    assert begin("accepted")[0] is None  # another worker, while the first one's build runs on
    build.stop()
    assert process.poll() is not None
    assert tried.count() == 0
    assert begin("endless")[0].stop() is None
