"""SCP and SCU against each other and against a peer that misbehaves, over loopback."""

from __future__ import annotations

import signal
import socket
import threading
from ipaddress import ip_network

import pytest

from dicom_node.core.errors import DestinationRefused, DestinationUnavailable, Rejected
from dicom_node.dimse.scp import AllowedPeer, ScpSettings, StorageScp, WholeObjects
from dicom_node.dimse.scu import Outgoing, Peer, echo, send
from dicom_node.part10.writer import wrap
from tests.unit.part10.test_header import EXPLICIT_LITTLE, a_radiograph, encoded

CR = "1.2.840.10008.5.1.4.1.1.1"
PRIVATE = "1.2.840.113619.4.26"


@pytest.fixture
def scp():
    running: list[StorageScp] = []

    def start(on_store, **changes):
        settings = ScpSettings(ae_title="NODE", host="127.0.0.1", port=0, **changes)
        running.append(StorageScp(settings, WholeObjects(on_store)))
        running[-1].start()
        return Peer("NODE", "127.0.0.1", running[-1].port, timeout_s=60.0)

    yield start
    for server in running:
        server.stop()


def an_object(folder, sop_class_uid=CR):
    ds = a_radiograph()
    ds.SOPClassUID = sop_class_uid
    path = folder / f"{sop_class_uid}.dcm"
    path.write_bytes(wrap(encoded(ds), sop_class_uid, "1.2.3.4", EXPLICIT_LITTLE))
    return Outgoing(sop_class_uid, "1.2.3.4", EXPLICIT_LITTLE, path)


@pytest.mark.parametrize("sop_class_uid", [CR, PRIVATE, "1.2.840.10008.5.1.4.1.1.6"])
def test_what_is_sent_arrives_byte_for_byte_private_and_retired_classes_too(scp, tmp_path, sop_class_uid):
    arrived = []
    peer = scp(arrived.append)
    item = an_object(tmp_path, sop_class_uid)
    send(peer, "SENDER", [item])
    (received,) = arrived
    assert item.path.read_bytes().endswith(received.dataset)
    assert (received.sop_class_uid, received.calling_ae) == (sop_class_uid, "SENDER")


def test_echo_is_answered(scp):
    echo(scp(lambda _received: None), "SENDER")


@pytest.mark.parametrize(
    ("status", "expected"),
    [(0xA700, DestinationUnavailable), (0xC000, DestinationRefused), (0xA900, DestinationRefused)],
)
def test_a_refusal_says_whether_to_try_again(scp, tmp_path, status, expected):
    def refuse(_received):
        message = "no"
        raise Rejected(message, status)

    with pytest.raises(expected, match=f"0x{status:04X}"):
        send(scp(refuse), "SENDER", [an_object(tmp_path)])


def test_a_bug_in_the_callback_is_answered_out_of_resources_and_survived(scp, tmp_path):
    calls = []

    def fail_once(received):
        calls.append(received)
        if len(calls) == 1:
            raise ZeroDivisionError

    peer = scp(fail_once)
    with pytest.raises(DestinationUnavailable, match="0xA700"):
        send(peer, "SENDER", [an_object(tmp_path)])
    send(peer, "SENDER", [an_object(tmp_path)])


def test_too_large_an_object_is_aborted(scp, tmp_path):
    with pytest.raises(DestinationUnavailable, match=r"no answer|aborted"):  # as fast as its A-ABORT is
        send(scp(lambda _received: None, max_object_bytes=100), "SENDER", [an_object(tmp_path)])


def test_c11_an_unknown_calling_or_wrong_called_title_is_rejected(scp):
    peer = scp(lambda _received: None, peers=(AllowedPeer("PACS", (ip_network("127.0.0.0/8"),)),))
    echo(peer, "PACS")
    with pytest.raises(DestinationUnavailable, match="rejected"):
        echo(peer, "STRANGER")
    with pytest.raises(DestinationUnavailable, match="rejected"):
        echo(Peer("WRONG", peer.host, peer.port), "PACS")


def test_c42_nobody_listening_is_unavailable():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(DestinationUnavailable, match="cannot be reached"):
            echo(Peer("PACS", "127.0.0.1", taken.getsockname()[1], timeout_s=2.0), "NODE")


@pytest.mark.timeout(180)
def test_c42_a_peer_that_accepts_and_stays_silent_is_given_up_in_time(tmp_path):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        held = []
        threading.Thread(target=lambda: held.append(listener.accept()), daemon=True).start()
        with pytest.raises(DestinationUnavailable):
            send(Peer("PACS", "127.0.0.1", listener.getsockname()[1], timeout_s=1.0), "NODE", [an_object(tmp_path)])


def test_an_interrupted_request_leaves_no_thread_behind():
    def interrupt(_number, _frame):
        raise KeyboardInterrupt

    before = set(threading.enumerate())
    previous = signal.signal(signal.SIGALRM, interrupt)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with pytest.raises(KeyboardInterrupt):
            echo_interrupted(Peer("PACS", "127.0.0.1", listener.getsockname()[1], timeout_s=60.0))
    signal.signal(signal.SIGALRM, previous)
    for thread in set(threading.enumerate()) - before:
        thread.join(60.0)
        assert not thread.is_alive()


def echo_interrupted(peer: Peer) -> None:
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    echo(peer, "NODE")
