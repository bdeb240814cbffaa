"""The worker lets go of an idle engine, and ends itself when the engine is lost."""

from __future__ import annotations

import time
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from dicom_node.core.errors import EngineLost, WorkerCrashed
from dicom_node.services import process, worker
from dicom_node.services.messages import AnalyseJob, Failed, Idle, Image
from dicom_node.services.model import Model
from dicom_node.settings import AnalysisSettings, NodeSettings, Settings

JOB = AnalyseJob(Image("1.2", "1.3", "1.4", "CR", "ab/abc"), "work/1-1")


FREE = SimpleNamespace(turn=nullcontext(), forget=lambda: None)  # a workbench whose model nobody uses


class Ended(Exception):
    """Stands for the end of the process."""


class Bench:
    def __init__(self, error):
        self.error = error

    def analyse(self, _job):
        raise self.error


class Released:
    """A model that counts how often it was released."""

    count = 0

    def release(self):
        self.count += 1


@pytest.fixture
def make(tmp_path):
    def make(**analysis):
        node, settings = NodeSettings(state_dir=tmp_path), AnalysisSettings(**analysis)
        return worker.Worker(Settings(node=node, analysis=settings))

    return make


def test_c44_a_lost_engine_ends_the_process_with_a_failure(make, monkeypatch):
    ended = []

    def end(status):
        ended.append(status)
        raise Ended

    monkeypatch.setattr(process, "end", end)
    with capture_logs() as events, pytest.raises(Ended):
        make()._do(JOB, Bench(EngineLost("the GPU failed on an image")))
    assert ended == [process.EXIT_FAILED]
    assert [(event["event"], event["reason"]) for event in events] == [("engine.lost", "the GPU failed on an image")]


def test_c45_the_model_is_asked_its_known_answer_once_a_day_and_another_ends_the_process(make, monkeypatch):
    class Asked:
        runtime = "asked"
        times = 0

        def test(self):
            self.times += 1
            if self.times > 1:
                message = "the self-test failed"
                raise EngineLost(message)

    def end(status):
        raise Ended(status)

    monkeypatch.setattr(process, "end", end)
    model, one = Asked(), make()
    one._test_daily(FREE, model)
    assert model.times == 0
    one._last_test -= 86400.0
    with capture_logs() as events:
        one._test_daily(FREE, model)
        one._test_daily(FREE, model)
        assert model.times == 1
        one._last_test -= 86400.0
        with pytest.raises(Ended, match=str(process.EXIT_FAILED)):
            one._test_daily(FREE, model)
    assert [event["event"] for event in events] == ["selftest.passed", "selftest.failed"]


def test_a_decoder_that_cannot_be_started_is_only_a_failed_job(make):
    assert make()._do(JOB, Bench(WorkerCrashed("no decoder"))) == Failed("no decoder")


def test_an_idle_engine_is_released_after_the_time_set_and_never_without_one(make):
    model = Released()
    patient = make(release_idle_s=100.0)
    patient._rest(FREE, model)
    assert model.count == 0
    patient._last_image = time.monotonic() - 100.0
    patient._rest(FREE, model)
    assert model.count == 1
    for_ever = make()
    for_ever._last_image = time.monotonic() - 1e6
    for_ever._rest(FREE, model)
    assert model.count == 1


def test_an_idle_worker_forgets_the_images_that_it_looked_at_ahead(make):
    forgotten = []
    bench, one = SimpleNamespace(forget=lambda: forgotten.append(1)), make()
    one._rest(bench, Released())
    assert forgotten == []
    one._last_image -= worker._FORGET_S
    one._rest(bench, Released())
    assert forgotten == [1]


def test_the_worker_has_a_stale_plan_built_where_the_settings_allow_it_and_ends_when_it_is_there(make, monkeypatch):
    class Built:
        def succeeded(self):
            return True

    class Node:
        def __init__(self):
            self.messages = [Idle(), Idle()]

        def send(self, _message):
            pass

        def receive(self):
            return self.messages.pop(0)

        def close(self):
            pass

    started = []
    monkeypatch.setattr(worker.rebuild, "start", lambda *asked: started.append(asked) or Built())
    stale, fits = Model("ab", None, None, "no plan", stale=True), Model("ab", None, None, None)
    assert make()._start_rebuild(stale) is None
    assert make(rebuild=True)._start_rebuild(fits) is None
    one, node = make(rebuild=True), Node()
    one._rebuild = one._start_rebuild(stale)
    assert [asked[-1] for asked in started] == ["no plan"]
    one._serve(node, Bench(None), stale)
    assert one._stopping.is_set()
    assert len(node.messages) == 1


def test_too_little_memory_at_the_start_ends_the_worker_in_one_line(tmp_path, monkeypatch):
    (tmp_path / "c.toml").write_text("[node]\nstate_dir = 'state'\n")

    def full(*_):
        message = "no room on the GPU for the plan"
        raise WorkerCrashed(message)

    monkeypatch.setattr(worker, "load_model", full)
    monkeypatch.setattr(process.logs, "configure", lambda *_: None)
    monkeypatch.setattr(process, "on_stop_signal", lambda _action: None)
    monkeypatch.setattr(process.os, "umask", lambda _mask: 0)
    with capture_logs() as events:
        assert worker.main(["--config", str(tmp_path / "c.toml")]) == process.EXIT_FAILED
    assert [(event["event"], event["reason"]) for event in events] == [
        ("engine.unavailable", "no room on the GPU for the plan")
    ]


def test_c36_a_worker_whose_bundle_was_replaced_ends_before_it_serves_with_the_old_one(make, monkeypatch):
    class Channel:
        closed = False

        def close(self):
            self.closed = True

    monkeypatch.setattr(worker, "installed_bundle", lambda _settings: "new")
    one, channel = make(), Channel()
    assert one._is_current(channel, Model("new", None, None, None))
    assert not one._stopping.is_set()
    assert not one._is_current(channel, Model("old", None, None, None))
    assert channel.closed
    assert one._stopping.is_set()
