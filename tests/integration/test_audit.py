"""The audit trail of a running node, and its way to an audit record repository."""

from __future__ import annotations

import hashlib
import re
import subprocess
import threading
import xml.etree.ElementTree as ET

import pytest

from dicom_node.inference.bundle_digest import bundle_digest
from dicom_node.ledger import audit
from dicom_node.ledger.database import open_ledger
from dicom_node.ledger.progress import read_progress
from dicom_node.services.software import installed_software, settings_digest
from dicom_node.services.syslog import SyslogSender
from dicom_node.settings import AuditSettings, load
from tests.support.node import command
from tests.support.sender import read_part10
from tests.support.sink import Sink, make_certificate
from tests.support.waiting import free_port, until

pytestmark = pytest.mark.timeout(300)


def test_what_a_result_came_from_is_told_in_full(system, factory):
    study = factory.study(views=2)
    system.upload(study)
    listed, report = system.wait_result(study)
    uid = study.study_instance_uid
    told = system.node.ask("audit", "show", uid)
    by_event = {event: [r for r in told if r["event"] == event] for event in {r["event"] for r in told}}

    received = {r["sop_instance_uid"]: r["facts"] for r in by_event["instance.stored"]}
    assert {sop: facts["size"] for sop, facts in received.items()} == {
        sop: len(read_part10(file).dataset) for sop, file in zip(study.sop_instance_uids, study.files, strict=True)
    }
    assert len({facts["patient"] for facts in received.values()}) == 1
    (published,) = by_event["result.published"]
    assert published["facts"]["inputs"] == {sop: facts["sha256"] for sop, facts in received.items()}
    assert report.sop_instance_uid in published["facts"]["outputs"]
    for name, digest in published["facts"]["files"].items():
        file = system.node.state_dir / listed["versions"][0]["folder"] / name
        assert hashlib.sha256(file.read_bytes()).hexdigest() == digest
    for record in by_event["image.analysed"]:
        facts = record["facts"]
        assert facts["input_sha256"] == received[record["sop_instance_uid"]]["sha256"]
        assert {"pixels_sha256", "transform", "bundle_sha256", "config_sha256", "software_sha256"} <= set(facts)
        assert {"runtime", "outcome", "probability", "parameters"} <= set(facts)
        assert re.fullmatch("[0-9a-f]{64}", facts["pixels_sha256"])
    assert [r["facts"]["destination"] for r in by_event["delivery.done"]] == ["pacs"]
    assert what_it_runs_on(published, by_event["image.analysed"]) == what_it_runs_on_now(system)
    (delivery,) = listed["deliveries"]
    assert (delivery["destination"], delivery["state"]) == ("pacs", "done")
    outputs = published["facts"]["outputs"]
    assert {slot["sop_instance_uid"] for slot in delivery["slots"] if slot["sop_instance_uid"]} <= set(outputs)
    assert {item["sop_instance_uid"]: item["file"] for item in listed["versions"][0]["objects"]} == outputs
    assert set(listed["versions"][0]["views"]) == set(received)
    assert {one["sop_instance_uid"]: one["sha256"] for one in listed["instances"]} == published["facts"]["inputs"]

    whole = subprocess.run(
        [command(), "audit", "export", "--config", str(system.node.config)], capture_output=True, text=True, check=True
    ).stdout
    assert study.patient_id not in whole
    assert study.patient_name.partition("^")[0] not in whole
    assert '"event": "node.started"' in whole
    assert system.node.ask("audit", "verify")["problem"] is None


def what_it_runs_on(published, analysed):
    """Return the digests of bundle, configuration and software that every record of a result states alike."""
    names = ("bundle_sha256", "config_sha256", "software_sha256")
    stated = {tuple(record["facts"][name] for name in names) for record in (published, *analysed)}
    assert len(stated) == 1, "made by one model, under one configuration"
    return stated.pop()


def what_it_runs_on_now(system):
    """Return the same of the installation itself."""
    settings = load(system.node.config)
    return bundle_digest(settings.analysis.bundle), settings_digest(settings), installed_software().sha256


def test_c50_records_wait_for_a_repository_that_is_down_and_come_once_and_in_order(tmp_path):
    certificate, port = make_certificate(tmp_path), free_port()
    settings = AuditSettings(syslog=f"tls://127.0.0.1:{port}", ca_file=str(certificate))
    ledger = open_ledger(tmp_path / "ledger.sqlite")
    sender = SyslogSender(settings, "DICOMNODE", ledger, threading.Event())

    def receive(first, last):
        with ledger.transaction() as connection:
            for number in range(first, last):
                audit.note(connection, float(number), "instance.stored", study="1.2", sop_instance=f"1.2.{number}")

    def deliver():
        while sender.step():
            pass

    receive(0, 150)
    with pytest.raises(ConnectionRefusedError):
        sender.step()
    sink = Sink(certificate, port)
    with sink:
        deliver()
        receive(150, 180)
        deliver()
        again = SyslogSender(settings, "DICOMNODE", ledger, threading.Event())  # as after a restart
        assert not again.step()
        until(lambda: len(sink.messages) >= 180, 60, "every message came", every_s=0.02)
    receive(180, 182)
    with pytest.raises(OSError, match=r"closed|EOF|reset|Broken pipe"):
        sender.step()
    with ledger.transaction() as connection:
        assert read_progress(connection, "syslog") == 180, "what the sink may not have taken is sent again"
    ledger.close()
    parsed = [ET.fromstring(message.partition(b"\xef\xbb\xbf")[2]) for message in sink.messages]  # noqa: S314 - ours
    uids = [root.find(".//Instance").attrib["UID"] for root in parsed]
    assert uids == [f"1.2.{number}" for number in range(180)]
    assert all(m.startswith(b"<85>1 ") and b" DICOM+RFC3881 - " in m for m in sink.messages)


def test_a_repository_with_a_foreign_certificate_is_sent_nothing(tmp_path):
    port = free_port()
    (tmp_path / "other").mkdir()
    settings = AuditSettings(syslog=f"tls://127.0.0.1:{port}", ca_file=str(make_certificate(tmp_path / "other")))
    ledger = open_ledger(tmp_path / "ledger.sqlite")
    with ledger.transaction() as connection:
        audit.note(connection, 1.0, "node.started")
    sink = Sink(make_certificate(tmp_path), port)
    with sink, pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
        SyslogSender(settings, "DICOMNODE", ledger, threading.Event()).step()
    ledger.close()
    assert sink.messages == []
