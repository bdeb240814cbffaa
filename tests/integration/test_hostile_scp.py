"""The SCP alone, where a case needs figures that no administrator sets (C3, C13, C15, C47)."""

from __future__ import annotations

import resource
import socket
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from dicom_node.dimse.listener import _keep_alive
from dicom_node.dimse.scp import Pace, ScpSettings, StorageScp, WholeObjects
from tests.support.waiting import until
from tests.support.wire import (
    ABORTED,
    CR,
    DATA,
    EXPLICIT,
    RawPeer,
    associate_rq,
    c_store_rq,
    context,
    echo_answered,
    p_data,
    pdv,
    status_of,
)

pytestmark = pytest.mark.timeout(180)

LIMIT_S = 20.0  # how long something is waited for that comes at once
NEVER_S = 300.0  # longer than a test takes


@pytest.fixture
def serve():
    running: list[StorageScp] = []

    def start(on_store=lambda _received: None, on_report=None, **changes):
        settings = ScpSettings("DICOMNODE", "127.0.0.1", 0, **changes)
        running.append(StorageScp(settings, WholeObjects(on_store), on_report))
        running[-1].start()
        return running[-1]

    yield start
    for scp in running:
        scp.stop()


def test_c01_one_address_holds_six_silent_connections_at_most(serve):
    scp = serve(request_timeout_s=NEVER_S)
    with ExitStack() as open_peers:
        first = [open_peers.enter_context(RawPeer(scp.port)) for _ in range(6)]
        until(lambda: len(scp._admission.inside()) == 6, LIMIT_S, "six are let in")
        time.sleep(0.6)  # those of the last half second are spared
        open_peers.enter_context(RawPeer(scp.port))
        assert first[0].closed_within(LIMIT_S)  # long before its time is up: it made room for the seventh
        assert not first[5].closed_within(0.05)
        assert scp.refusals() == {"address": 1}


def test_c03_a_data_set_slower_than_the_floor_is_aborted(serve):
    arrived = []
    scp = serve(arrived.append, pace=Pace(floor_bytes_s=8000, floor_window_s=1.0))
    with RawPeer(scp.port) as slow:
        slow.associate().send(p_data(pdv(c_store_rq("1.2.3"), 3)))
        with pytest.raises(OSError):  # noqa: PT011 - reset or broken pipe
            drip(slow, 100)
    with RawPeer(scp.port) as steady:
        steady.associate().send(p_data(pdv(c_store_rq("1.2.3"), 3)))
        drip(steady, 12, size=100_000)
        steady.send(p_data(pdv(b"", 2)))
        assert status_of(steady.pdu()[1]) == 0
    assert [len(item.dataset) for item in arrived] == [1_200_000]


def drip(peer: RawPeer, count: int, size: int = 100) -> None:
    """Send whole PDUs, each in time, ten a second."""
    for _ in range(count):
        peer.send(p_data(pdv(bytes(size), 0)))
        time.sleep(0.1)


def test_c13_the_kernel_asks_a_silent_peer_whether_it_is_there():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as sock:
        _keep_alive(sock)
        names = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert [sock.getsockopt(socket.IPPROTO_TCP, name) for name in names] == [30, 10, 3]


def test_c15_descriptors_beyond_1023_work(serve):
    scp = serve()
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] < 1200:
        pytest.skip("this account may not open 1,200 files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], 1200), before[1]))
    with ExitStack() as held:
        try:
            for _ in range(1030):
                held.enter_context(open("/dev/null"))  # noqa: PTH123 - only its descriptor
            echo_answered(scp.port)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_burst_from_one_address_is_let_in(serve):
    """A modality or a PACS opens a dozen associations at once: none may be taken for a silent connection."""
    scp = serve()
    with ExitStack() as open_peers:
        peers = [open_peers.enter_context(RawPeer(scp.port)) for _ in range(16)]
        assert [peer.associate().echo() for peer in peers] == [0] * 16


def test_an_idle_association_sleeps(serve):
    scp = serve()
    with ExitStack() as open_peers:
        for _ in range(20):
            open_peers.enter_context(RawPeer(scp.port)).associate()
        until(lambda: len(wake_ups()) == 20, LIMIT_S, "each association has its thread")
        until(sleeps_for_half_a_second, LIMIT_S, "none of them gives up the processor, for none has it")
        assert len(wake_ups()) == 20


def sleeps_for_half_a_second() -> bool:
    before = wake_ups()
    time.sleep(0.5)
    return wake_ups() == before


def wake_ups() -> dict[str, str]:
    """Return how often each association's thread gave up the processor so far."""
    threads = [str(t.native_id) for t in threading.enumerate() if t.name == "scp-association"]
    states = {tid: Path(f"/proc/self/task/{tid}/status").read_text() for tid in threads}
    return {tid: state.partition("\nvoluntary_ctxt_switches:")[2].split()[0] for tid, state in states.items()}


def test_a_socket_that_a_supervisor_opened_is_taken_and_left_open():
    with socket.create_server(("127.0.0.1", 0)) as owner:
        settings = ScpSettings("DICOMNODE", "", 0, listen_fd=socket.dup(owner.fileno()))
        scp = StorageScp(settings, WholeObjects(lambda _received: None))
        scp.start()
        assert scp.port == owner.getsockname()[1]
        echo_answered(scp.port)
        scp.stop()
        with RawPeer(owner.getsockname()[1]) as waiting:  # in the backlog, for who comes next
            owner.settimeout(LIMIT_S)
            owner.accept()[0].close()
            assert waiting.closed_within(LIMIT_S)


def test_c47_stopping_ends_idle_and_stalled_peers_and_finishes_the_instance_on_its_way(serve):
    arrived, half = [], bytes(1000)
    scp = serve(arrived.append, request_timeout_s=NEVER_S, pace=Pace(idle_s=NEVER_S, pdu_s=NEVER_S))
    with ExitStack() as open_peers:
        silent = [open_peers.enter_context(RawPeer(scp.port)) for _ in range(3)]
        idle = open_peers.enter_context(RawPeer(scp.port)).associate()
        stalled = open_peers.enter_context(RawPeer(scp.port)).associate()
        stalled.send(p_data(pdv(c_store_rq("1.2.3"), 3)) + p_data(pdv(half, 0))[:500])
        busy = open_peers.enter_context(RawPeer(scp.port)).associate()
        busy.send(p_data(pdv(c_store_rq("1.2.4"), 3)) + p_data(pdv(half, 0)))
        until(lambda: sum(one.received > len(half) / 2 for one in scp._admission.inside()) == 2, LIMIT_S, "halves came")
        stopping = threading.Thread(target=scp.stop)
        stopping.start()
        assert all(peer.closed_within(LIMIT_S) for peer in (*silent, idle))
        busy.send(p_data(pdv(half, 2)))
        kind, body = busy.pdu()
        assert (kind, status_of(body)) == (DATA, 0)
        assert busy.pdu()[0] == ABORTED
        stopping.join(10)
        assert not stopping.is_alive()
    assert [item.sop_instance_uid for item in arrived] == ["1.2.4"]


def test_a_report_of_a_storage_commitment_is_taken_on_an_association_of_the_pacs(serve):
    reports = []

    def take(report):
        reports.append(report)
        return 0

    scp = serve(on_report=take)
    commitment = "1.2.840.10008.1.20.1"
    request = c_store_rq("1.2.840.10008.1.20.1.1", commitment).replace(b"\1\0\0\0\x10\1", b"\0\1\0\0\x10\1", 1)
    with RawPeer(scp.port) as peer:
        peer.associate(context(1, commitment, (EXPLICIT,)))
        peer.send(p_data(pdv(request, 3)) + p_data(pdv(b"\x08\0\x95\x11UI\4\x001.2\0", 2)))
        assert status_of(peer.pdu()[1]) == 0
    until(lambda: reports, 60, "the report arrived")
    assert (reports[0].sop_class_uid, reports[0].calling_ae, len(reports[0].dataset)) == (commitment, "PEER", 12)
    with RawPeer(serve().port) as peer:  # who takes no reports accepts no context for them
        peer.send(associate_rq(context(1, commitment, (EXPLICIT,)) + context(3, CR, (EXPLICIT,))))
        assert b"\1\0\3\0" in peer.pdu()[1]
