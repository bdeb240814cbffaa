"""What a PACS stored is promised to be kept: against Orthanc, and stubs that answer here, there, late or never."""

from __future__ import annotations

import contextlib

import pytest
from pydicom.dataset import Dataset
from pynetdicom.dsutils import encode

from dicom_node.deliver.probe import probe
from dicom_node.dimse.commitment import open_inquiry, read_report
from dicom_node.dimse.requestor import Peer
from dicom_node.ledger import commitments, purging
from dicom_node.ledger.overview import Overview
from tests.support.committing import (
    NO_SUCH_INSTANCE,
    TAKEN,
    CommittingPacs,
    information,
    listening,
    report_anew,
    report_on,
)
from tests.support.orthanc import Forward, Orthanc
from tests.support.parcels import a_result_of_images
from tests.support.published import Outgoing
from tests.support.stub_pacs import Listener, StubPacs, accept_association, read_pdu
from tests.support.waiting import free_port
from tests.support.wire import command, p_data, pdv, status_of

pytestmark = pytest.mark.timeout(180)

DAY = 86400.0
COMMITMENT, LAST = "1.2.840.10008.1.20.1", 2
SENT = 3  # objects of a delivery to a stub: page, presentation state, report


@pytest.fixture(autouse=True)
def strict(monkeypatch):
    """The stubs accept what they are told; other tests of this process switch pynetdicom to accepting everything."""
    monkeypatch.setattr("pynetdicom._config.UNRESTRICTED_STORAGE_SERVICE", False)


@pytest.fixture
def outgoing(tmp_path):
    with contextlib.ExitStack() as stack:
        yield lambda *destinations, **more: stack.enter_context(Outgoing(tmp_path / "state", *destinations, **more))


@pytest.fixture
def clock():
    return [1000.0]


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory, orthanc_installed):  # noqa: ARG001 - a fixture cannot be marked
    node_port = free_port()
    with Orthanc(tmp_path_factory.mktemp("orthanc"), node_port, Forward.NONE) as pacs:
        pacs.node_port = node_port
        yield pacs


def at_orthanc(pacs, **more):
    where = {"ae_title": pacs.ae_title, "host": "127.0.0.1", "port": pacs.dicom_port}
    return {"name": "pacs", **where} | more


def us(number):
    return number.to_bytes(2, "little")


def uid(text):
    return text.encode() + b"\0" * (len(text) % 2)


def proof(node, study="1.2.3"):
    return node.delivery(study, "pacs")["proof"]


def events(node):
    found = [record.event for record in Overview(node.folders.ledger).trail()]
    return [event for event in found if event.startswith(("commitment", "delivery"))]


def delete_the_report(pacs, node, study):
    """Delete the report that Orthanc has just stored; returns its SOP Instance UID."""
    uid = node.delivery(study, "pacs")["slots"][-1]["sop_instance_uid"]
    pacs.delete(f"/instances/{pacs.find('Instance', SOPInstanceUID=uid)[0]['ID']}")
    return uid


def is_purgeable(node, now=1e12):
    with node.ledger.transaction() as connection:
        return bool(purging.due(connection, 0, lambda at: at < now, 10)[0])


def test_orthanc_commits_on_an_association_of_its_own_and_only_then_the_study_may_be_purged(orthanc, outgoing):
    node = outgoing(at_orthanc(orthanc))
    assert probe(node.destinations[0], "DICOMNODE")["answer"] == "answers C-ECHO, offers storage commitment"
    with listening(node, orthanc.node_port):
        node.publish("1.2.3", write=a_result_of_images)
        assert node.courier("pacs").step()
        assert (proof(node), is_purgeable(node)) == ("waiting", False)
        assert node.asker("pacs").step()
        node.until(lambda: proof(node) == "committed")
    slots = node.delivery("1.2.3", "pacs")["slots"]
    assert all(slot["committed_at"] for slot in slots)
    assert is_purgeable(node)
    assert sorted(events(node)) == ["commitment.asked", "commitment.granted", "delivery.done"]
    assert node.known("pacs")["proofs"] == {"committed": 1}


def test_what_was_deleted_in_orthanc_before_the_request_is_sent_again_and_then_committed(orthanc, outgoing):
    node = outgoing(at_orthanc(orthanc, commitment="required"))
    with listening(node, orthanc.node_port):
        node.publish("1.2.5", write=a_result_of_images)
        node.courier("pacs").step()
        report = delete_the_report(orthanc, node, "1.2.5")
        asker = node.asker("pacs")
        asker.step()
        node.until(lambda: node.delivery("1.2.5", "pacs")["state"] == "ready")
        failures = [slot["failure"] for slot in node.delivery("1.2.5", "pacs")["slots"]]
        assert failures == [None, NO_SUCH_INSTANCE]
        assert not is_purgeable(node)
        node.courier("pacs").step()
        assert len(orthanc.find("Instance", SOPInstanceUID=report)) == 1
        asker.step()
        node.until(lambda: proof(node, "1.2.5") == "committed")
    assert events(node).count("commitment.failed") == 1
    assert node.delivery("1.2.5", "pacs")["last_error"] is None


def test_what_c_find_does_not_find_in_orthanc_is_sent_again_after_some_looks(orthanc, outgoing, clock):
    destination = at_orthanc(orthanc, commitment="none", confirm_by_find=True)
    node = outgoing(destination, clock=lambda: clock[0])
    node.publish("1.2.6", write=a_result_of_images)
    node.courier("pacs").step()
    delete_the_report(orthanc, node, "1.2.6")
    asker = node.asker("pacs")
    for _ in range(4):
        assert (proof(node, "1.2.6"), is_purgeable(node)) == ("waiting", False)
        asker.step()
        clock[0] += 3600.0
    assert proof(node, "1.2.6") == "resending"
    node.courier("pacs").step()
    asker.step()
    assert (proof(node, "1.2.6"), is_purgeable(node)) == ("found", True)


def test_a_report_on_the_same_association_is_taken_and_answered(outgoing):
    answers = []
    with CommittingPacs(lambda assoc, asked: answers.append(report_on(assoc, information(asked)))) as pacs:
        node = outgoing(pacs.destination())
        for study in ("1.2.3", "1.2.4"):
            node.publish(study)
        node.courier("pacs").step()
        node.asker("pacs", stay_s=60.0).step()
        assert (proof(node), proof(node, "1.2.4")) == ("committed", "committed")
        node.until(lambda: answers == [0, 0])
        assert pacs.associations == 2, "one to store, one for both requests and both reports"
        (first, second) = pacs.requests
        assert len(first.ReferencedSOPSequence) == len(second.ReferencedSOPSequence) == SENT


def test_c43_a_report_that_comes_after_our_restart_counts_and_no_stranger_s_does(outgoing, tmp_path):
    with CommittingPacs() as pacs:
        node = outgoing(pacs.destination())
        node.publish("1.2.3")
        node.courier("pacs").step()
        node.asker("pacs", stay_s=0.0).step()
        assert proof(node) == "asked"
        node.ledger.close()
        again = Outgoing(tmp_path / "state", pacs.destination())
        with again, listening(again) as scp:
            (asked,) = pacs.requests
            said, stranger = information(asked), information(asked)
            stranger.TransactionUID = "2.25.4711"
            assert report_anew(scp.port, stranger) == 0x0115
            assert proof(again) == "asked"
            assert report_anew(scp.port, said) == 0
            assert proof(again) == "committed"
            assert report_anew(scp.port, said) == 0, "said twice is no failure"


def test_c43_a_pacs_that_never_reports_is_asked_again_less_and_less_and_after_72_hours_it_is_said(outgoing, clock):
    with CommittingPacs() as pacs:
        node = outgoing(pacs.destination(), clock=lambda: clock[0])
        node.publish("1.2.3")
        node.courier("pacs").step()
        asker, asked_at = node.asker("pacs", stay_s=0.0), []
        while proof(node) != "unanswered":
            before = len(pacs.requests)
            asker.step()
            asked_at += [clock[0]] * (len(pacs.requests) - before)
            clock[0] += 60.0 if len(asked_at) < 8 else 3600.0
            assert clock[0] < 1000.0 + 4 * DAY
        assert clock[0] >= 1000.0 + 3 * DAY
        assert [int(at - 1000.0) for at in asked_at[:5]] == [0, 60, 180, 420, 900]
        assert len(asked_at) < 30
        assert len({request.TransactionUID for request in pacs.requests}) == len(asked_at)
        assert "never reported" in node.delivery("1.2.3", "pacs")["proof_error"]
        assert not is_purgeable(node)
        with listening(node) as scp:
            assert report_anew(scp.port, information(pacs.requests[3])) == 0
        assert proof(node) == "committed", "late, and still true"


def test_c43_what_a_pacs_keeps_refusing_is_sent_three_times_more_and_then_waits_for_a_person(outgoing, clock):
    def refuse(assoc, asked):
        uid = asked.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        report_on(assoc, information(asked, {uid: 0x0213}))

    with CommittingPacs(refuse) as pacs:
        node = outgoing(pacs.destination(), clock=lambda: clock[0])
        node.publish("1.2.3")
        courier, asker = node.courier("pacs"), node.asker("pacs", stay_s=60.0)
        for sent in range(1, 5):
            assert courier.step()
            assert len(pacs.stored) == sent * SENT
            assert asker.step()
            clock[0] += 3600.0
        assert not courier.step()
        delivery = node.delivery("1.2.3", "pacs")
        assert (delivery["state"], delivery["proof"]) == ("dead", "failed")
        assert "0x0213" in delivery["last_error"]
        assert not is_purgeable(node)
        assert "Canary" not in str(list(Overview(node.folders.ledger).trail()))


def test_c43_a_request_in_whose_middle_the_association_is_lost_holds_up_no_other_and_its_report_counts(outgoing, clock):
    with CommittingPacs() as pacs:
        node = outgoing(pacs.destination(), clock=lambda: clock[0])
        for study in ("1.2.3", "1.2.4"):
            node.publish(study)
        node.courier("pacs").step()
        asker = node.asker("pacs", stay_s=0.0)
        pacs.breaks = True
        assert asker.step()
        assert (proof(node), proof(node, "1.2.4"), len(pacs.requests)) == ("waiting", "waiting", 1)
        assert not asker.step(), "it is left alone for a moment"
        pacs.breaks, clock[0] = False, clock[0] + 5.0
        asker.step()
        assert (proof(node), proof(node, "1.2.4"), len(pacs.requests)) == ("waiting", "asked", 2)
        with listening(node) as scp:
            assert report_anew(scp.port, information(pacs.requests[0])) == 0
        assert proof(node) == "committed"


def test_a_pacs_that_reports_before_it_answers_the_request_is_answered_in_between():
    """It waits for the answer to its report and does nothing else: neither side may wait for the other."""
    told, outcomes = Dataset(), []
    told.TransactionUID, told.ReferencedSOPSequence = "2.25.7", []
    event = encode(told, is_implicit_vr=False, is_little_endian=True)
    where = {0x0002: uid(COMMITMENT), 0x1000: uid(COMMITMENT + ".1")}
    asks = command(where | {0x0100: us(0x0100), 0x0110: us(9), 0x0800: us(1), 0x1002: us(1)})
    answers = command({0x0100: us(0x8130), 0x0120: us(1), 0x0800: us(0x0101), 0x0900: us(0)})

    def serve(sock):
        accept_association(sock)
        while read_pdu(sock)[5] != LAST:  # the request, up to the end of its data set
            pass
        sock.sendall(p_data(pdv(asks, 3) + pdv(event, LAST)))
        outcomes.append(read_pdu(sock))
        sock.sendall(p_data(pdv(answers, 3)))
        sock.recv(100)

    def take(report):
        outcomes.append(read_report(report))
        return 0x0110

    with Listener(serve) as pacs:
        peer = Peer("STUB", "127.0.0.1", pacs.port, timeout_s=20.0)
        with open_inquiry(peer, "NODE", take, commitment=True, find=False) as inquiry:
            assert inquiry.request("2.25.7", [("1.2", "1.2.3")]) == 0
    assert outcomes[0].transaction_uid == "2.25.7"
    assert status_of(outcomes[1]) == 0x0110


@pytest.mark.parametrize(("commitment", "state"), [("auto", "stored"), ("required", "waiting"), ("none", None)])
def test_a_pacs_without_storage_commitment_proves_what_its_settings_say(outgoing, commitment, state):
    with StubPacs(*TAKEN) as pacs:
        node = outgoing(pacs.destination(commitment=commitment))
        node.publish("1.2.3")
        node.courier("pacs").step()
        assert node.asker("pacs").step() == (state is not None)
        assert proof(node) == state
        assert is_purgeable(node) == (commitment != "required")
        assert ("offers no" in str(node.delivery("1.2.3", "pacs")["proof_error"])) == (commitment == "required")


@pytest.mark.parametrize(("status", "state"), [(0x0211, "stored"), (0x0110, "waiting")])
def test_a_refused_request_is_no_offer_or_is_tried_again(outgoing, status, state):
    with CommittingPacs() as pacs:
        pacs.action_status = status
        node = outgoing(pacs.destination())
        node.publish("1.2.3")
        node.courier("pacs").step()
        node.asker("pacs").step()
        assert proof(node) == state
        assert (f"0x{status:04X}" in str(node.delivery("1.2.3", "pacs")["proof_error"])) == (state == "waiting")


def test_c43_a_pacs_that_is_down_for_days_is_asked_when_it_is_back(outgoing, clock):
    pacs = CommittingPacs(lambda assoc, asked: report_on(assoc, information(asked)))
    node = outgoing(pacs.destination(), clock=lambda: clock[0])
    with pacs:
        for number in range(3):
            node.publish(f"1.2.{number}")
        node.courier("pacs").step()
    asker = node.asker("pacs", stay_s=60.0)
    tries = 0
    while clock[0] < 1000.0 + 5 * DAY:
        tries += asker.step()
        clock[0] += 3600.0
    assert tries == 5 * 24, "one connection a try, for all three"
    assert "cannot be reached" in node.delivery("1.2.0", "pacs")["proof_error"]
    with pacs:
        asker.step()
    assert node.known("pacs")["proofs"] == {"committed": 3}
    with node.ledger.transaction() as connection:
        left = connection.execute(commitments.commitment_request.select()).all()
    assert len(left) == 3, "what was never sent left no rows"
