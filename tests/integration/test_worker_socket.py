"""The node's side of the worker socket, with workers that answer, crash, hang or talk nonsense."""

from __future__ import annotations

import contextlib
import errno
import socket
import time
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from dicom_node.core.findings import Outcome, Reason, ReasonCode, StudyFinding, not_analysed
from dicom_node.core.study import Quiet
from dicom_node.ledger import instances
from dicom_node.ledger.database import open_ledger
from dicom_node.ledger.overview import Overview
from dicom_node.ledger.spool import StateFolders, folder_digest, publish_folder
from dicom_node.services.closing import Closer
from dicom_node.services.dispatch import Dispatcher, DispatchSettings
from dicom_node.services.messages import (
    FINDING,
    Analysed,
    AnalyseJob,
    Channel,
    Composed,
    ComposedObject,
    ComposeJob,
    Failed,
    Hello,
    Next,
)
from dicom_node.services.threads import Bell, Threads
from tests.support.waiting import until
from tests.unit.ledger.arrivals import an_arrival


class Node:
    """A ledger with one received radiograph, and the dispatcher and closer that serve it."""

    def __init__(self, root, quiet=Quiet(0, 0)):  # noqa: B008 - a frozen value
        # Where a quiet period is to pass, it does so by `let_pass` alone, however slow the machine is.
        self.ahead_s, self.quiet, self.began = 0.0, quiet, time.time() if quiet.quiet_s else None
        self.folders = StateFolders(root)
        self.folders.create()
        self.ledger = open_ledger(self.folders.ledger)
        self.threads, self.bell = Threads(), Bell()
        self.installed = "bundle"
        self.receive("1.2.3.1")
        settings = DispatchSettings("bundle", timeout_s=0.3, crash_limit=3, destinations=("pacs",))
        self.dispatcher = Dispatcher(
            settings,
            ledger=self.ledger,
            folders=self.folders,
            bell=self.bell,
            clock=self.clock,
            dice=lambda: 0.5,
            threads=self.threads,
            purge=lambda _uid: 0,
            installed=lambda: self.installed,
        )
        stopping, publish_ahead = self.threads.stopping, self.dispatcher.publish_ahead
        closer = Closer(self.ledger, "bundle", self.bell, self.clock, stopping, publish_ahead)
        self.threads.start("dispatcher", self.dispatcher.run)
        self.threads.start("closer", closer.run)

    def clock(self):
        return (time.time() if self.began is None else self.began) + self.ahead_s

    def let_pass(self, seconds):
        self.ahead_s += seconds
        self.bell.ring()

    def receive(self, uid):
        with self.ledger.transaction() as connection:
            instances.record(connection, an_arrival(uid, content=uid), self.quiet, "bundle", now=self.clock())
        self.bell.ring()

    def worker(self, bundle="bundle"):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(self.folders.socket))
        channel = Channel(sock)
        channel.send(Hello(bundle, "test", None))
        return channel

    def study(self):
        return Overview(self.folders.ledger).study("1.2.3")

    def until(self, condition):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if condition(self.study()):
                return self.study()
            time.sleep(0.02)
        return pytest.fail(f"did not come true: {self.study()}")


@pytest.fixture
def node(tmp_path, request):
    node = Node(tmp_path / "state", *getattr(request, "param", ()))
    yield node
    node.threads.stopping.set()
    node.bell.ring()
    node.threads.join(30.0)
    node.ledger.close()


def next_job(channel):
    while True:
        channel.send(Next())
        job = channel.receive(60.0)
        if isinstance(job, (AnalyseJob, ComposeJob)):
            return job


def a_finding(code=ReasonCode.NO_MODEL):
    return not_analysed("1.2.3.1", Reason(code, "no model"))


def test_c45_what_a_worker_alerts_of_stands_in_the_study_s_history(node):
    channel = node.worker()
    next_job(channel)
    channel.send(Analysed(a_finding(ReasonCode.NON_FINITE), None, 5000.0, "the model took 5000 ms for this image"))
    found = node.until(lambda study: any(line["event"] == "model.alert" for line in study["history"]))
    (line,) = (line for line in found["history"] if line["event"] == "model.alert")
    assert line["detail"] == "the model took 5000 ms for this image"


def compose(node, channel, digest=None, content=b"report"):
    job = next_job(channel)
    assert isinstance(job, ComposeJob)
    folder = node.folders.root / job.folder
    folder.mkdir()
    (folder / "001-sr.dcm").write_bytes(content)
    reason = a_finding().reason
    views = tuple(not_analysed(view.sop_instance_uid, reason) for view in job.views)
    finding = StudyFinding(Outcome.NOT_ANALYSED, reason, None, views, None)
    item = ComposedObject("sr", "sr", "1.2", "2.25.1", "2.25.2", "1.2.840.10008.1.2.1", "001-sr.dcm")
    channel.send(Composed(finding, digest or folder_digest(folder), (item,)))
    return job


def test_an_image_is_answered_and_its_study_published_once(node):
    channel = node.worker()
    job = next_job(channel)
    assert job.image.sop_instance_uid == "1.2.3.1"
    channel.send(Analysed(a_finding(), None, None))
    compose(node, channel)
    study = node.until(lambda found: found["versions"] and found["versions"][0]["state"] == "published")
    assert [item["file"] for item in study["versions"][0]["objects"]] == ["001-sr.dcm"]
    assert [(item["destination"], item["state"]) for item in study["deliveries"]] == [("pacs", "ready")]
    assert (node.folders.root / study["versions"][0]["folder"] / "001-sr.dcm").read_bytes() == b"report"


def test_c30_an_image_that_ends_three_workers_is_reported_as_failed(node):
    for _ in range(3):
        channel = node.worker()
        assert isinstance(next_job(channel), AnalyseJob)
        channel.close()
    study = node.until(lambda found: found["instances"][0]["finding"] is not None)
    finding = FINDING.validate_json(study["instances"][0]["finding"])
    assert finding.outcome is Outcome.NOT_ANALYSED
    assert finding.reason.code is ReasonCode.CRASHED
    assert finding.reason.attempted
    compose(node, node.worker())
    node.until(lambda found: found["versions"][0]["state"] == "published")


def test_c30_what_comes_next_is_named_and_an_image_that_ended_a_worker_is_alone(node):
    def joined(count):
        until(lambda: node.dispatcher.workers == count, 60, "who is gone is not counted, who is there is", every_s=0.01)

    def named(job):
        return [image.sop_instance_uid for image in job.upcoming]

    for number in (2, 3, 4):
        node.receive(f"1.2.3.{number}")
    channel = node.worker()
    job = next_job(channel)
    assert [job.image.sop_instance_uid, *named(job)] == ["1.2.3.1", "1.2.3.2", "1.2.3.3", "1.2.3.4"]
    channel.close()  # over one of the two: nobody knows which
    joined(0)
    channel = node.worker()
    job = next_job(channel)
    assert [job.image.sop_instance_uid, *named(job)] == ["1.2.3.1"]
    channel.send(Analysed(a_finding(), None, None))
    job = next_job(channel)
    assert [job.image.sop_instance_uid, *named(job)] == ["1.2.3.2", "1.2.3.3", "1.2.3.4"]
    channel.close()
    joined(0)
    channel, other = node.worker(), node.worker()
    joined(2)
    assert next_job(channel).image.sop_instance_uid == "1.2.3.2"
    job = next_job(other)
    assert [job.image.sop_instance_uid, *named(job)] == ["1.2.3.3"], "the other worker will take the next"


def test_where_one_ended_worker_gives_an_image_up_each_is_alone(node):
    node.dispatcher.apply(replace(node.dispatcher._settings, crash_limit=1))
    node.receive("1.2.3.2")
    assert next_job(node.worker()).upcoming == ()


def test_a_worker_that_hangs_loses_its_job_to_the_next(node, monkeypatch):
    hanging = node.worker()
    until(lambda: node.dispatcher.workers, 60, "it has joined")
    monkeypatch.setattr("dicom_node.services.dispatch._GRACE_S", 0.1)
    assert isinstance(next_job(hanging), AnalyseJob)
    with pytest.raises((EOFError, ConnectionError)):
        hanging.receive(60.0)
    monkeypatch.setattr("dicom_node.services.dispatch._GRACE_S", 60.0)
    other = node.worker()
    assert isinstance(next_job(other), AnalyseJob)
    other.send(Analysed(a_finding(), None, None))
    compose(node, other)
    node.until(lambda found: found["versions"][0]["state"] == "published")


def test_a_result_folder_that_changed_on_the_way_is_not_believed(node):
    channel = node.worker()
    next_job(channel)
    channel.send(Analysed(a_finding(), None, None))
    compose(node, channel, digest="0" * 64)
    compose(node, channel)
    node.until(lambda found: found["versions"][0]["state"] == "published")


def test_c40_an_answer_that_the_disk_does_not_take_is_asked_for_again(node, monkeypatch):
    failing = ["once"]

    def publish(source, target):
        if failing:
            failing.clear()
            raise OSError(errno.EIO, "Input/output error")
        publish_folder(source, target)

    monkeypatch.setattr("dicom_node.services.dispatch.publish_folder", publish)
    channel = node.worker()
    next_job(channel)
    channel.send(Analysed(a_finding(), None, None))
    with capture_logs() as events:
        compose(node, channel)
        compose(node, channel)
        node.until(lambda found: found["versions"][0]["state"] == "published")
    said = [event["reason"] for event in events if event["event"] == "job.failed"]
    assert said == ["the answer could not be put in place (OSError)"]


def test_an_error_is_tried_again(node):
    channel = node.worker()
    next_job(channel)
    channel.send(Failed("no memory"))
    assert isinstance(next_job(channel), AnalyseJob)


def test_nonsense_on_the_socket_ends_only_that_connection(node):
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(node.folders.socket))
    sock.sendall(b"\xff\xff\xff\xff nonsense")
    with contextlib.suppress(ConnectionResetError):
        assert sock.recv(1) == b""
    assert isinstance(next_job(node.worker()), AnalyseJob)


def test_a_worker_with_the_bundle_that_is_installed_now_restarts_the_node(node):
    node.installed = "another"
    node.worker(bundle="another")
    assert node.threads.stopping.wait(60.0)
    assert not node.threads.failed


def test_c36_a_worker_that_was_left_behind_is_turned_away_and_the_node_goes_on(node):
    stale = node.worker(bundle="another")
    with pytest.raises(EOFError):
        stale.receive(60.0)
    assert not node.threads.stopping.is_set()
    assert isinstance(next_job(node.worker()), AnalyseJob)


def test_an_answer_about_another_image_is_not_believed(node):
    channel = node.worker()
    next_job(channel)
    other = not_analysed("1.2.3.99", Reason(ReasonCode.NO_MODEL, "no model"))
    with capture_logs() as events:
        channel.send(Analysed(other, None, None))
        until(lambda: any(event["event"] == "job.failed" for event in events), 60, "the answer is refused")
    assert next(e["reason"] for e in events if e["event"] == "job.failed") == "an answer to another question"
    assert not any(line["event"] == "image.analysed" for line in node.study()["history"])


def test_c38_an_image_whose_file_changed_before_the_report_may_be_sent_again(node):
    channel = node.worker()
    next_job(channel)
    channel.send(Analysed(a_finding(), None, None))
    job = next_job(channel)
    assert isinstance(job, ComposeJob)
    (view,) = job.views
    assert (view.sha256, view.size) != ("", 0)
    path = node.folders.instance_path(view.spool_key)
    path.write_bytes(b"not what was received")
    channel.send(Failed("it is not what was received; send it again", permanent=True))
    study = node.until(lambda found: found["versions"][0]["state"] == "failed")
    assert [line["event"] for line in study["history"]][-1] == "instance.damaged"
    assert not path.exists()
    with node.ledger.transaction() as connection:
        assert not instances.is_known(connection, "1.2.3.1", view.sha256)


def test_a_failure_that_repeating_cannot_mend_fails_the_version_at_once_and_is_said(node):
    channel = node.worker()
    next_job(channel)
    channel.send(Analysed(a_finding(), None, None))
    job = next_job(channel)
    assert isinstance(job, ComposeJob)
    with capture_logs() as events:
        channel.send(Failed("study 1.2.3: its images disagree about PatientID", permanent=True))
        study = node.until(lambda found: found["versions"][0]["state"] == "failed")
    assert study["versions"][0]["reason_text"] == "study 1.2.3: its images disagree about PatientID"
    assert study["deliveries"] == []
    said = [event for event in events if event["event"] == "result.failed"]
    assert [event["log_level"] for event in said] == ["critical"]
    assert "1.2.3" in said[0]["reason"]


QUIET = pytest.mark.parametrize("node", [(Quiet(60, 600),)], indirect=True)


def analyse(node, channel):
    job = next_job(channel)
    assert isinstance(job, AnalyseJob)
    finding = not_analysed(job.image.sop_instance_uid, Reason(ReasonCode.NO_MODEL, "no model"))
    channel.send(Analysed(finding, None, None))
    node.until(lambda study: all(image["finding"] for image in study["instances"]))


def kept_ahead(node):
    study = node.until(lambda _study: bool(node.dispatcher._drafts))
    assert any(node.folders.ahead.iterdir())
    return study


@QUIET
def test_a_result_composed_ahead_is_published_at_the_close_without_another_job(node):
    channel = node.worker()
    analyse(node, channel)
    node.let_pass(57)
    job = compose(node, channel, content=b"made ahead")
    assert kept_ahead(node)["state"] == "open"
    node.let_pass(3.5)
    study = node.until(lambda found: found["versions"] and found["versions"][0]["state"] == "published")
    version = study["versions"][0]
    assert (version["version"], version["closed_at"]) == (job.version, job.closed_at)
    assert (node.folders.root / version["folder"] / "001-sr.dcm").read_bytes() == b"made ahead"
    assert [(item["destination"], item["state"]) for item in study["deliveries"]] == [("pacs", "ready")]
    assert not any(node.folders.ahead.iterdir())


@QUIET
def test_a_result_composed_ahead_gives_way_where_another_image_came(node):
    channel = node.worker()
    analyse(node, channel)
    node.let_pass(57)
    assert len(compose(node, channel, content=b"of one image").views) == 1
    kept_ahead(node)
    node.receive("1.2.3.2")
    analyse(node, channel)
    node.let_pass(100)  # past the close: the node was busy, or not there
    assert len(compose(node, channel, content=b"of both").views) == 2
    study = node.until(lambda found: found["versions"] and found["versions"][0]["state"] == "published")
    version = study["versions"][0]
    assert (node.folders.root / version["folder"] / "001-sr.dcm").read_bytes() == b"of both"
    assert not any(node.folders.ahead.iterdir())


@QUIET
def test_a_result_composed_ahead_that_is_not_what_its_worker_stated_is_composed_again(node):
    channel = node.worker()
    analyse(node, channel)
    node.let_pass(57)
    compose(node, channel, digest="0" * 64, content=b"changed")
    node.let_pass(3.5)
    compose(node, channel)
    study = node.until(lambda found: found["versions"] and found["versions"][0]["state"] == "published")
    assert (node.folders.root / study["versions"][0]["folder"] / "001-sr.dcm").read_bytes() == b"report"


@QUIET
def test_a_worker_that_ends_while_it_composes_ahead_counts_as_no_crash(node):
    channel = node.worker()
    analyse(node, channel)
    node.let_pass(57)
    for _ in range(2):
        assert isinstance(next_job(channel), ComposeJob)
        channel.close()
        channel = node.worker()
    node.let_pass(3.5)
    compose(node, channel)
    node.until(lambda found: found["versions"] and found["versions"][0]["state"] == "published")
