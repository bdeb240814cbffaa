"""A node whose ledger is on a PostgreSQL server: receives, answers, delivers, and outlives the server's crash."""

from __future__ import annotations

import gzip
import json
import threading
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO

import pytest
from starlette.testclient import TestClient

from dicom_node import settings as configuration
from dicom_node.cli import exits
from dicom_node.cli.main import main
from dicom_node.ledger.server import Server
from dicom_node.services.page import surroundings
from dicom_node.web.application import application
from dicom_node.web.metrics import Metrics
from tests.support.orthanc import Forward
from tests.support.postgres import PASSWORD, PostgresServer
from tests.support.sender import RawSender
from tests.support.system import System, result_problems
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def server():
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="module")
def system(server, tmp_path_factory, bundle, orthanc_installed):  # noqa: ARG001 - a fixture cannot be marked
    """Return Orthanc and such a node; the password is a credential beside the configuration."""
    folder = tmp_path_factory.mktemp("system")
    made = System(folder, bundle, Forward.NONE)
    by_socket = server.database()
    made.node.settings["node"]["ledger_url"] = server.by_tcp(by_socket)
    made.node.server = Server(by_socket, None, made.node.state_dir)
    secret = folder / "node" / "credentials" / "node.ledger_password_file"
    secret.parent.mkdir()
    secret.write_text(PASSWORD)
    secret.chmod(0o400)
    with made:
        yield made


@pytest.fixture(scope="module")
def answered(system, factory):
    """Return a study whose result is in the PACS."""
    study = factory.study(views=1)
    send(system, study)
    system.wait_result(study)
    return study


def send(system, study):
    return RawSender(system.node.port, timeout_s=60).send_all(study.files)


def said(system, *arguments):
    """Return what a command says, and its exit status."""
    output = StringIO()
    with redirect_stdout(output), redirect_stderr(output):
        status = main([*arguments, "--config", str(system.node.config)])
    return output.getvalue(), status


def told(system, *arguments):
    """Return the JSON that a command prints."""
    text, status = said(system, *arguments, "--json")
    assert status == exits.GOOD, text
    return json.loads(text)


def test_a_crash_of_the_server_costs_nothing_that_was_acknowledged(server, system, factory):
    before, meanwhile = factory.study(), factory.study()
    assert all(answer.stored for answer in send(system, before))
    server.crash()
    answers = send(system, meanwhile)
    assert {answer.status for answer in answers} == {0xA700}
    text, status = said(system, "doctor")
    assert status == exits.FAILED
    assert "the ledger's server" in text
    assert system.node.process("node") is not None, "it waits, and does not end"
    server.start()
    until(lambda: all(answer.stored for answer in send(system, meanwhile)), 60, "it goes on by itself", every_s=0.5)
    for study in (before, meanwhile):
        listed, _report = system.wait_result(study)
        assert {row["sop_instance_uid"] for row in listed["instances"]} == set(study.sop_instance_uids)
        assert result_problems(system, study) == []
    assert told(system, "audit", "verify")["problem"] is None
    assert not system.node.events("child.ended")


def test_every_command_reads_it_and_those_that_cannot_say_so(system, answered, tmp_path):
    uid = answered.study_instance_uid
    assert told(system, "status")["destinations"]["pacs"]["dead"] == 0
    assert {row["study_instance_uid"]: row for row in told(system, "studies")}[uid]["runtimes"].startswith("ONNX")
    assert told(system, "studies", uid)["deliveries"][0]["state"] == "done"
    assert told(system, "queue", "list") == {"jobs": [], "deliveries": []}
    assert told(system, "destinations")[0]["done"] >= 1
    assert told(system, "audit", "show", uid)
    assert system.node.ask("replay", uid)["same"]  # in a process of its own: it sets up the log
    findings = {one["check"]: one for one in json.loads(said(system, "doctor", "--json")[0])}
    for check in ("ledger", "ledger's version", "audit trail"):
        assert findings[check]["state"] == "good", findings[check]
    text, status = said(system, "check")
    assert (status, "keeps its ledger at postgresql://127.0.0.1" in text) == (exits.GOOD, True)
    for command in ("backup", "restore"):
        text, status = said(system, command, str(tmp_path / "elsewhere"))
        assert (status, "pg_dump" in text, len(text.splitlines())) == (exits.LEDGER, True, 1)
    told(system, "support-bundle", "--output", str(tmp_path / "bundle.tar.gz"), "--log", str(system.node.log))
    assert b"127.0.0.1" not in gzip.decompress((tmp_path / "bundle.tar.gz").read_bytes())


def test_the_page_and_its_metrics_read_it(system, answered):
    outside = surroundings(configuration.load(system.node.config), system.node.config)
    client = TestClient(application(outside, Metrics(outside), None), base_url="http://localhost")
    assert client.get("/").status_code == 200
    assert answered.sop_instance_uids[0] in client.get(f"/studies/{answered.study_instance_uid}").text
    metrics = client.get("/metrics").text
    assert "dicom_node_ledger_readable 1.0" in metrics
    assert 'dicom_node_instances_total{reason="",role="view"}' in metrics


def test_its_bytes_are_purged_and_its_rows_stay(system, answered):
    assert told(system, "purge", answered.study_instance_uid) == {"studies": 1}
    listed = told(system, "studies", answered.study_instance_uid)
    assert {row["storage"] for row in listed["instances"]} == {"purged"}


def test_the_password_is_in_no_log_and_no_answer(system):
    shown = [said(system, *line)[0] for line in (("check", "--json"), ("status",), ("audit", "show", "--json"))]
    assert "ledger_url" in shown[0]
    assert PASSWORD not in system.node.log.read_text() + "".join(shown)


def test_a_node_that_is_started_before_its_server_waits_for_it(server, system):
    system.node.stop()
    server.stop()
    later = threading.Timer(1.0, server.start)
    later.start()
    system.node.start(wait_worker=False)
    later.join()
    assert len(system.node.events("node.ready")) == 2
