"""The courier and the ledger against PACS that take little, answer badly or are not there."""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
import time

import pytest

from dicom_node.ledger.overview import Overview
from dicom_node.ledger.standing import standing
from tests.support.parcels import EXPLICIT, JPEG_LS, PR, RUNGS, SC, SR
from tests.support.published import Outgoing
from tests.support.stub_pacs import Listener, StubPacs, accept_association, read_pdu
from tests.support.waiting import free_port

pytestmark = pytest.mark.timeout(180)

ALL = ((SC, EXPLICIT), (SC, JPEG_LS), (PR, EXPLICIT), *((SR + rung, EXPLICIT) for rung in RUNGS))


@pytest.fixture(autouse=True)
def strict(monkeypatch):
    """The stubs accept what they are told; other tests of this process switch pynetdicom to accepting everything."""
    monkeypatch.setattr("pynetdicom._config.UNRESTRICTED_STORAGE_SERVICE", False)


@pytest.fixture
def outgoing(tmp_path):
    with contextlib.ExitStack() as stack:
        yield lambda *destinations, **more: stack.enter_context(Outgoing(tmp_path / "state", *destinations, **more))


def test_five_pacs_that_accept_one_rung_each_get_their_best_in_one_association(outgoing):
    stubs = {rung: StubPacs((SC, EXPLICIT), (SR + rung, EXPLICIT)) for rung in RUNGS} | {"sc": StubPacs((SC, EXPLICIT))}
    with contextlib.ExitStack() as stack:
        for stub in stubs.values():
            stack.enter_context(stub)
        node = outgoing(*(stub.destination(f"pacs-{rung}") for rung, stub in stubs.items()))
        node.publish("1.2.3")
        node.run()
        for rung in stubs:
            delivery = node.until_done("1.2.3", f"pacs-{rung}")
            slots = {slot["slot"]: slot for slot in delivery["slots"]}
            assert slots["pr-1"]["note"] == "not accepted"
            assert slots["sr"]["sop_class_uid"] == (None if rung == "sc" else SR + rung)
            assert [seen[0] for seen in stubs[rung].stored] == [SC] if rung == "sc" else [SC, SR + rung]
            assert stubs[rung].associations == 1
            accepted = {tuple(context) for context in node.known(f"pacs-{rung}")["accepted"]}
            assert accepted == {(SC, EXPLICIT), (SR + rung, EXPLICIT)} - {(SR + "sc", EXPLICIT)}


def test_a_pacs_that_takes_everything_gets_the_compressed_page_the_presentation_state_and_the_3d_report(outgoing):
    with StubPacs(*ALL) as stub:
        node = outgoing(stub.destination(), stub.destination("plain", sr_class="enhanced", presentation_states="none"))
        node.publish("1.2.3")
        node.courier("pacs").step()
        assert [(seen[0], seen[2]) for seen in stub.stored] == [(SC, JPEG_LS), (PR, EXPLICIT), (SR + "34", EXPLICIT)]
        node.courier("plain").step()
        assert [seen[0] for seen in stub.stored[3:]] == [SC, SR + "22"]


def test_a_class_refused_by_answer_falls_to_the_next_rung_in_the_same_association_and_is_not_tried_again(outgoing):
    asked = []

    def answer(sop_class, _uid):
        asked.append(sop_class)
        return 0x0122 if sop_class == SR + "34" else 0

    with StubPacs(*ALL, answer=answer) as stub:
        node = outgoing(stub.destination())
        node.publish("1.2.3")
        node.publish("1.2.4")
        assert node.courier("pacs").step()
        assert stub.associations == 1
        assert asked == [SC, PR, SR + "34", SR + "33", SC, PR, SR + "33"]
        assert node.delivery("1.2.4", "pacs")["state"] == "done"
        assert "0x0122" in node.delivery("1.2.3", "pacs")["slots"][-1]["note"]


@pytest.mark.parametrize(
    ("status", "state"), [(0xC000, "dead"), (0xA900, "dead"), (0xA700, "ready"), (0xB000, "done"), (0x0111, "done")]
)
def test_c42_each_answer_has_its_consequence(outgoing, status, state):
    with StubPacs(*ALL, answer=lambda _class, _uid: status) as stub:
        node = outgoing(stub.destination())
        node.publish("1.2.3")
        node.courier("pacs").step()
        delivery = node.delivery("1.2.3", "pacs")
        assert delivery["state"] == state
        assert (delivery["last_error"] is None) == (state == "done")
        if state != "done":
            assert f"0x{status:04X}" in delivery["last_error"]
            assert "Canary" not in delivery["last_error"]


def stop_reading(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    accept_association(sock)
    time.sleep(30)


def release_early(sock):
    accept_association(sock)
    sock.recv(1)
    sock.sendall(b"\x05\x00\x00\x00\x00\x04\x00\x00\x00\x00")
    while sock.recv(65536):
        pass


def talk_nonsense(sock):
    read_pdu(sock)
    sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def abort(sock):
    accept_association(sock)
    sock.sendall(b"\x07\x00\x00\x00\x00\x04\x00\x00\x02\x00")
    while sock.recv(65536):  # to close with something unread would reset the connection, and be another case
        pass


@pytest.mark.parametrize(
    ("serve", "said"),
    [
        (stop_reading, "gave no answer within 0.5 s"),
        (release_early, "released the association early"),
        (talk_nonsense, "did not answer in DICOM"),
        (abort, "aborted the association"),
        (socket.socket.close, "closed the connection|broke the connection"),
    ],
)
def test_c42_a_peer_that_breaks_off_is_tried_again_and_delays_no_other(outgoing, serve, said):
    with Listener(serve) as bad, StubPacs(*ALL) as stub:
        short = {"timeout_s": 0.5} if serve is stop_reading else {}
        node = outgoing(stub.destination("bad", port=bad.port, **short), stub.destination("good"))
        node.publish("1.2.3")
        node.run()
        node.until_done("1.2.3", "good")
        node.until(lambda: node.delivery("1.2.3", "bad")["attempts"] >= 2)
        delivery = node.delivery("1.2.3", "bad")
        assert delivery["state"] in {"ready", "sending"}
        assert re.search(said, delivery["last_error"])


@pytest.mark.parametrize(("host", "down_s"), [("127.0.0.1", 3600), ("no-such-host.invalid", 240)])
def test_c42_a_long_outage_costs_one_connection_a_wait_and_everything_flows_afterwards(outgoing, host, down_s):
    now = [1000.0]
    stub = StubPacs(*ALL)
    node = outgoing(stub.destination(host=host, retry_first_s=5.0, retry_longest_s=60.0), clock=lambda: now[0])
    for number in range(40):
        node.publish(f"1.2.{number}", outcome="positive" if number == 39 else "negative")
    courier = node.courier("pacs", dice=lambda: 0.99)
    tries = []
    while now[0] < 1000.0 + down_s:
        tries += [now[0]] if courier.step() else []
        now[0] += 1.0
    waits = [after - before for before, after in itertools.pairwise(tries)]
    assert max(waits) <= 60.0
    assert len(tries) <= 6 + down_s / 60  # however much waits
    assert node.known("pacs")["failures"] == len(tries)
    if host != "127.0.0.1":
        return
    with stub:
        back = now[0]
        while node.known("pacs")["waiting"]:
            now[0] += 0.0 if courier.step() else 1.0
        assert now[0] - back <= 60.0
        assert len(stub.stored) == 40 * 3
        first = {uid for _, uid, _ in stub.stored[:3]}
        found = Overview(node.folders.ledger).study("1.2.39")
        assert first <= {item["sop_instance_uid"] for item in found["versions"][0]["objects"]}
        assert stub.associations == 3  # 16 + 16 + 8


def test_after_the_last_day_of_an_outage_deliveries_are_given_up_and_can_be_revived(outgoing):
    now = [1000.0]
    node = outgoing(
        {"name": "pacs", "ae_title": "X", "host": "127.0.0.1", "port": free_port(), "retry_days": 1.0},
        clock=lambda: now[0],
    )
    for number in range(20):
        node.publish(f"1.2.{number}")
    courier = node.courier("pacs")
    courier.step()
    assert node.known("pacs")["dead"] == 0
    now[0] += 86400.0
    courier.step()
    assert (node.known("pacs")["dead"], node.known("pacs")["waiting"]) == (20, 0)
    assert "cannot be reached" in node.delivery("1.2.19", "pacs")["last_error"]


def test_one_result_that_a_pacs_cannot_stomach_holds_up_no_other(outgoing):
    poison: list[str] = []

    with StubPacs(*ALL, answer=lambda _class, uid: 0xA700 if uid in poison else 0) as stub:
        node = outgoing(stub.destination())
        node.publish("1.2.1", outcome="positive")
        node.publish("1.2.2")
        found = Overview(node.folders.ledger).study("1.2.1")
        poison += [item["sop_instance_uid"] for item in found["versions"][0]["objects"]]
        node.run()
        node.until_done("1.2.2", "pacs")
        assert node.delivery("1.2.1", "pacs")["attempts"] >= 1
        poison.clear()
        node.until_done("1.2.1", "pacs")


def test_versions_of_a_study_arrive_in_their_order_also_after_a_failure(outgoing):
    refuse = [True]

    def answer(_class, _uid):
        return 0xA700 if refuse and refuse.pop() else 0

    with StubPacs(*ALL, answer=answer) as stub:
        node = outgoing(stub.destination())
        node.publish("1.2.3", 1)
        node.publish("1.2.3", 2, outcome="positive")
        node.run()
        node.until_done("1.2.3", "pacs", 2)
        found = Overview(node.folders.ledger).study("1.2.3")
        order = [uid for _, uid, _ in stub.stored]
        reports = [row["objects"][3]["sop_instance_uid"] for row in found["versions"]]
        assert [uid for uid in order if uid in reports] == reports


def test_c38_a_result_that_changed_on_the_disk_is_not_sent(outgoing):
    with StubPacs(*ALL) as stub:
        node = outgoing(stub.destination())
        node.publish("1.2.1")
        node.publish("1.2.2")
        spoilt = next((node.folders.results / "1.2.1-1").glob("*sr*"))
        spoilt.write_bytes(spoilt.read_bytes().replace(b"P1", b"P7"))
        (gone,) = (node.folders.results / "1.2.2-1").glob("*pr*")
        gone.unlink()
        node.courier("pacs").step()
        assert stub.stored == []
    for study in ("1.2.1", "1.2.2"):
        delivery = node.delivery(study, "pacs")
        assert delivery["state"] == "dead"
        assert "is not what was made: purge the study, then send it again" in delivery["last_error"]


def test_what_waits_for_a_destination_that_is_configured_no_more_is_told(outgoing):
    node = outgoing({"name": "pacs", "ae_title": "X", "host": "127.0.0.1", "port": free_port()})
    node.publish("1.2.1")
    with node.ledger.transaction() as connection:
        found = standing(connection, ("another",))["destinations"]
        assert (found["pacs"]["waiting"], found["another"]["waiting"]) == (1, 0)
        assert "no destination has this name any more" in found["pacs"]["last_error"]
        assert set(standing(connection, ("pacs",))["destinations"]) == {"pacs"}
