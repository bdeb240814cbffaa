"""What an administrator asks a running node, and does to it, beside a real PACS."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.support.node import command
from tests.support.orthanc import Forward
from tests.support.sender import RawSender
from tests.support.system import System
from tests.support.waiting import until
from tests.support.wire import CR, EXPLICIT, RawPeer, associate_rq, context

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def calm(tmp_path_factory, bundle, orthanc_installed):  # noqa: ARG001 - a fixture cannot be marked
    """A PACS that forwards nothing by itself, and a node."""
    with System(tmp_path_factory.mktemp("calm"), bundle, Forward.NONE) as running:
        yield running


def run(system: System, *words: str) -> subprocess.CompletedProcess[str]:
    line = [command(), *words, "--config", str(system.node.config)]
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=120)


def test_status_tells_how_it_stands(calm):
    found = calm.node.ask("status")
    assert (found["running"], found["accepting"], found["workers"], found["late_loops"]) == (True, True, 1, [])
    assert found["destinations"]["pacs"]["waiting"] == 0
    assert "accepting as DICOMNODE" in run(calm, "status").stdout
    before = found["refused"].get("rejected", 0)
    with RawPeer(calm.node.port) as stranger:
        stranger.send(associate_rq(context(1, CR, (EXPLICIT,)), called=b"SOMEBODY")).pdu()
    assert calm.node.ask("status")["refused"]["rejected"] == before + 1
    assert f"turned away   {before + 1} rejected" in run(calm, "status").stdout


def test_echo_asks_the_pacs_and_says_when_it_is_not_there(calm):
    assert run(calm, "echo").returncode == 0
    assert run(calm, "echo", "ORTHANC").stdout.startswith("pacs: answers C-ECHO")
    refused = run(calm, "echo", "NOBODY", "--host", "127.0.0.1", "--port", "9")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "cannot be reached" in refused.stderr
    assert run(calm, "echo", "unknown").returncode == 2


def test_doctor_finds_a_running_installation_in_order(calm):
    done = run(calm, "doctor", "--json")
    states = {one["check"]: (one["state"], one["seen"]) for one in json.loads(done.stdout)}
    for check in ("node", "worker", "bundle", "own C-ECHO", "destination pacs", "ledger", "queue", "packages", "port"):
        assert states[check][0] in {"good", "note"}, (check, states[check])


def test_backfill_fetches_what_is_not_here_yet_and_goes_on_where_it_stopped(calm, factory):
    studies = [factory.study(views=1) for _ in range(2)]
    for study in studies:
        calm.upload(study)
    day = calm.pacs.datasets(studies[0].study_instance_uid)[0].StudyDate
    words = ["backfill", "pacs", "--from", f"{day[:4]}-{day[4:6]}-{day[6:]}", "--per-minute", "600", "--json"]
    calm.pacs.add_modality("backfill", "DICOMNODE", calm.node.port)
    dry = json.loads(run(calm, *words, "--dry-run").stdout)
    assert (dry["found"] >= 2, dry["fetched"]) == (True, 0)
    first = run(calm, *words, "--limit", "1")
    assert json.loads(first.stdout)["fetched"] == 1, first.stderr
    rest = json.loads(run(calm, *words).stdout)
    assert (rest["known"], rest["fetched"], rest["failed"]) == (1, dry["found"] - 1, [])
    for study in studies:
        calm.wait_result(study)


def test_drain_rejects_new_associations_until_resume(calm, factory):
    study = factory.study(views=1)
    assert run(calm, "queue", "drain", "--wait-s", "60").returncode == 0
    assert RawSender(calm.node.port).send(study.files[0]).outcome == "association rejected"
    assert calm.node.ask("status")["accepting"] is False
    assert run(calm, "queue", "resume").returncode == 0
    assert RawSender(calm.node.port).send(study.files[0]).stored
    calm.wait_result(study)


def test_reload_brings_a_destination_and_takes_it_away(calm, factory):
    before = calm.node.config.read_text()
    second = calm.node.settings["destinations"][0] | {"name": "second"}
    block = "\n[[destinations]]\n" + "\n".join(f"{key} = {json.dumps(value)}" for key, value in second.items())
    calm.node.config.write_text(before + block)
    try:
        assert "applied: destinations" in run(calm, "reload").stdout
        study = factory.study(views=1)
        assert RawSender(calm.node.port).send(study.files[0]).stored
        until(lambda: study.study_instance_uid in calm.node.studies(), 60, "it is listed")

        def done() -> bool:
            rows = calm.node.study(study.study_instance_uid)["deliveries"]
            return sorted((row["destination"], row["state"]) for row in rows) == [("pacs", "done"), ("second", "done")]

        until(done, 60, "both destinations have it")
    finally:
        calm.node.config.write_text(before)
    assert calm.node.ask("reload")["applied"] == ["destinations"]
    records = json.loads(run(calm, "audit", "show", "--last", "40", "--json").stdout)
    told = [record["detail"] for record in records if record["event"] == "configuration.changed"]
    assert told.count("changed: destinations") == 2  # there and back
    assert run(calm, "audit", "verify").returncode == 0
    assert set(calm.node.ask("status")["destinations"]) == {"pacs"}


def test_c49_reload_changes_who_may_connect_and_a_bad_certificate_changes_nothing(calm, factory):
    before = calm.node.config.read_text()
    study = factory.study(views=1)
    try:
        calm.node.config.write_text(f'{before}\n[[node.peers]]\nae_title = "ELSE"\naddresses = ["192.0.2.9"]\n')
        assert calm.node.ask("reload")["applied"] == ["node.peers"]
        assert not RawSender(calm.node.port).send(study.files[0]).stored
        calm.node.config.write_text(f'{before}\n[node.tls]\ncertificate = "no.crt"\nkey = "no.key"\nca = "no.crt"\n')
        refused = run(calm, "reload")
        assert (refused.returncode, "no.crt" in refused.stderr) == (2, True)
    finally:
        calm.node.config.write_text(before)
    assert calm.node.ask("reload")["applied"] == ["node.peers"]
    assert RawSender(calm.node.port).send(study.files[0]).stored


def test_selftest_gives_the_known_answers_beside_the_running_node(calm):
    before = len(calm.node.studies())
    done = run(calm, "selftest", "--json")
    checked = json.loads(done.stdout)
    assert done.returncode == 0, checked
    assert [one["problem"] for one in checked] == ["", ""]
    assert len(calm.node.studies()) == before
