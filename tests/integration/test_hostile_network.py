"""Peers that break the upper layer's rules, against one running node (cases C1 to C16 of the fault list).

For every case: the node's process stays the same and small, and an honest peer on another address is served at once.
"""

from __future__ import annotations

import resource
import time
from contextlib import ExitStack, suppress

import psutil
import pytest

from tests.support.node import Node, unfinished
from tests.support.waiting import until
from tests.support.wire import (
    ABORT,
    ABORTED,
    ACCEPTED,
    CR,
    DATA,
    EXPLICIT,
    HEADER,
    REJECTED,
    RELEASE_RQ,
    RELEASED,
    RawPeer,
    associate_rq,
    c_echo_rq,
    c_store_rq,
    context,
    echo_answered,
    item,
    p_data,
    pdv,
    status_of,
)
from tests.unit.part10.test_header import a_radiograph, encoded

pytestmark = pytest.mark.timeout(180)

REQUEST_S = PDU_S = 3.0  # an honest peer on a busy machine is quicker
LIMIT_S = 20.0  # how long something is waited for that comes at once
MOST_ASSOCIATIONS = 8
ENEMY = "127.0.0.66"
STORE = context(1, CR, (EXPLICIT,)) + context(3)


@pytest.fixture(scope="module")
def node(tmp_path_factory, bundle):
    node = Node(tmp_path_factory.mktemp("hostile"), bundle)
    node.settings["node"] |= {
        "request_timeout_s": REQUEST_S,
        "pdu_timeout_s": PDU_S,
        "max_associations": MOST_ASSOCIATIONS,
        "max_object_mib": 2,
    }
    node.start()
    yield node
    node.stop()


@pytest.fixture(autouse=True)
def unharmed(node):
    """The common rule of all cases."""
    process = node.process("node")
    before = process.memory_info().rss
    yield
    assert node.process("node").pid == process.pid
    until(lambda: process.memory_info().rss - before < 16e6, LIMIT_S, "it is as small as before")
    until(lambda: process.num_threads() <= quiet_threads(node), LIMIT_S, "the threads of all hostile peers are gone")
    echo_answered(node.port)
    assert node.events("association.failed") == node.events("thread.failed") == []
    # The last object of a peer that is gone may still be on its way to its place: nobody waits for it but this.
    until(lambda: unfinished(node.state_dir) == [], LIMIT_S, "nothing that arrived is left half done")


_QUIET: dict[int, int] = {}
_SETTLING = 1  # the thread that puts the worker's answers in their place, from the first on


def quiet_threads(node: Node) -> int:
    """Return how many threads the node has without any peer."""
    pid = node.process("node").pid
    return _QUIET.get(pid, 64)


@pytest.fixture(scope="module", autouse=True)
def _count_quiet_threads(node):
    echo_answered(node.port)
    until(lambda: node.events("worker.joined"), 60, "the worker has joined")
    process = node.process("node")
    _QUIET[process.pid] = process.num_threads() + _SETTLING


def radiograph(sop_instance: str) -> bytes:
    ds = a_radiograph()
    ds.SOPInstanceUID = sop_instance
    return encoded(ds)


class Refusals:
    """The refusals that are logged from now on."""

    def __init__(self, node: Node) -> None:
        self._node, self._before = node, len(node.events("association.refused"))

    def new(self, count: int = 1) -> list[dict]:
        """Wait for so many, and return all."""

        def enough() -> list[dict]:
            found = self._node.events("association.refused")[self._before :]
            return found if len(found) >= count else []

        return until(enough, LIMIT_S, f"{count} refusals are logged")


def test_c01_silent_connections_end_and_keep_nobody_out(node):
    with ExitStack() as open_peers:
        silent = [open_peers.enter_context(RawPeer(node.port, ENEMY)) for _ in range(20)]
        echo_answered(node.port)
        echo_answered(node.port, ENEMY)  # even from the address they come from
        assert all(peer.closed_within(LIMIT_S) for peer in silent)


def test_c02_a_peer_that_stalls_inside_a_pdu_is_dropped(node):
    refusals, counts = Refusals(node), (1, 5, 7, 80)
    with ExitStack() as open_peers:
        peers = [open_peers.enter_context(RawPeer(node.port, f"127.0.3.{number}")) for number in range(8)]
        for count, before, after in zip(counts, peers[:4], peers[4:], strict=True):
            before.send(associate_rq(STORE)[:count])
            after.associate().send(p_data(pdv(c_store_rq("1.2.3"), 3))[:count])
        assert all(peer.closed_within(LIMIT_S) for peer in peers)
    assert [event["kind"] for event in refusals.new(8)] == ["stalled"] * 8


def test_c03_a_byte_at_a_time_is_no_progress(node):
    refusals = Refusals(node)
    with RawPeer(node.port, ENEMY) as before, RawPeer(node.port, ENEMY) as after:
        after.associate()
        for peer, data in ((before, associate_rq(STORE)), (after, p_data(pdv(c_store_rq("1.2.3"), 3)))):
            with pytest.raises(OSError):  # noqa: PT011 - reset or broken pipe
                trickle(peer, data)
    assert [event["kind"] for event in refusals.new(2)] == ["stalled"] * 2


def trickle(peer: RawPeer, data: bytes) -> None:
    """Send a byte at a time, all of it in twice as long as a PDU may take."""
    for byte in data:
        peer.send(bytes((byte,)))
        time.sleep(2 * PDU_S / len(data))


@pytest.mark.parametrize("length", [0xFFFFFFFF, 256 * 1024 + 1])
def test_c04_an_association_request_of_absurd_length_is_not_read(node, length):
    with RawPeer(node.port, ENEMY) as peer:
        peer.send(HEADER.pack(1, length))
        kind, body = peer.pdu()
        assert (kind, body[3]) == (ABORTED, 6)
        assert peer.closed_within(LIMIT_S)


@pytest.mark.parametrize(
    "data",
    [
        HEADER.pack(4, 0xFFFFFFFF),
        HEADER.pack(4, 128 * 1024 + 1),
        HEADER.pack(4, 0),
        HEADER.pack(4, 5) + bytes(5),
        HEADER.pack(4, 12) + b"\xff\xff\xff\xff" + bytes(8),
        HEADER.pack(4, 12) + b"\0\0\0\x09" + bytes(8),
        HEADER.pack(4, 12) + b"\0\0\0\1" + bytes(8),
        p_data(pdv(c_echo_rq(), 3, 3), b"\0\0\0"),
    ],
)
def test_c05_lengths_that_do_not_fit_are_answered_with_abort(node, data):
    with RawPeer(node.port, ENEMY) as peer:
        peer.associate().send(data)
        kind, body = peer.pdu()
        assert (kind, body[2:4]) == (ABORTED, b"\2\6")  # by the provider: invalid PDU parameter
        assert peer.closed_within(LIMIT_S)


def test_c06_a_data_set_without_end_is_cut_at_the_cap_and_removed(node):
    block, refusals = p_data(pdv(bytes(65536), 0)), Refusals(node)
    with RawPeer(node.port, ENEMY) as peer:
        peer.associate().send(p_data(pdv(c_store_rq("1.2.3"), 3)))
        with suppress(OSError):  # reset or broken pipe, where the node hung up first
            peer.send(block * 1024)
        assert peer.closed_within(LIMIT_S)
    assert "max_object_mib" in refusals.new()[0]["reason"]


def test_c07_a_second_request_before_the_first_is_answered_ends_the_association(node):
    uid = "1.2.3.7"
    one = p_data(pdv(c_store_rq(uid), 3)) + p_data(pdv(radiograph(uid), 2))
    with RawPeer(node.port, ENEMY) as peer:
        peer.associate().send(one * 400)
        assert peer.pdu()[0] == ABORTED
    with RawPeer(node.port, ENEMY) as peer:
        peer.associate().send(p_data(pdv(c_echo_rq(), 3, 3), pdv(c_echo_rq(), 3, 3)))
        assert peer.pdu()[0] == ABORTED


@pytest.mark.parametrize("addresses", [1, 20])
def test_c10_above_the_limit_associations_are_told_to_come_back(node, addresses):
    answers = []
    with ExitStack() as open_peers:
        for number in range(40):
            source = f"127.0.1.{number % addresses + 1}"
            peer = open_peers.enter_context(RawPeer(node.port, source))
            peer.send(associate_rq(STORE))
            answers.append(peer.pdu())
    assert [kind for kind, _ in answers[:MOST_ASSOCIATIONS]] == [ACCEPTED] * MOST_ASSOCIATIONS
    assert {(kind, body[1:]) for kind, body in answers[MOST_ASSOCIATIONS:]} == {(REJECTED, b"\2\3\2")}
    until(lambda: can_echo(node), LIMIT_S, "the node recovers from the flood")


def can_echo(node: Node) -> bool:
    try:
        echo_answered(node.port)
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (b"\x09\0\0\0\0\4\0\0\0\0", (ABORTED, b"\0\0\2\1")),  # unknown type
        (b"GET / HTTP/1.1\r\n\r\n", (ABORTED, b"\0\0\2\1")),
        (p_data(pdv(c_echo_rq(), 3, 3)), (ABORTED, b"\0\0\2\2")),  # not before an association
        (RELEASE_RQ, (ABORTED, b"\0\0\2\2")),
        (associate_rq(STORE, version=2), (REJECTED, b"\0\1\2\2")),
        (associate_rq(STORE, application=b"1.2.3"), (REJECTED, b"\0\1\1\2")),
        (associate_rq(STORE, called=b"SOMEBODY"), (REJECTED, b"\0\1\1\7")),
        (associate_rq(b""), (ABORTED, b"\0\0\2\6")),
        (associate_rq(context(1) + context(1)), (ABORTED, b"\0\0\2\6")),
        (associate_rq(context(2)), (ABORTED, b"\0\0\2\6")),
        (associate_rq(b"".join(context(number % 256) for number in range(1, 261, 2))), (ABORTED, b"\0\0\2\6")),
        (associate_rq(context(1, transfer=())), (ABORTED, b"\0\0\2\6")),
        (associate_rq(item(0x20, b"\1\0\0\0\x40\0\xff\xff")), (ABORTED, b"\0\0\2\6")),
        (associate_rq(STORE) + p_data(pdv(c_echo_rq(), 3, 3)), (ABORTED, b"\0\0\2\2")),  # before our answer
        (HEADER.pack(1, 10) + bytes(10), (ABORTED, b"\0\0\2\6")),
    ],
)
def test_c12_a_request_that_is_none_is_rejected_or_aborted(node, request_, answer):
    with RawPeer(node.port, ENEMY) as peer:
        assert peer.send(request_).pdu() == answer
        assert peer.closed_within(LIMIT_S)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x08\0\0\0\0\4\0\0\0\0", 1),
        (associate_rq(STORE), 2),
        (b"\2\0\0\0\0\4\0\0\0\0", 2),
        (b"\3\0\0\0\0\4\0\0\0\0", 2),
        (b"\6\0\0\0\0\4\0\0\0\0", 2),
        (HEADER.pack(5, 0xFFFFFF), 6),
        (p_data(pdv(c_echo_rq(), 3, 9)), 6),  # a context that nobody proposed
        (p_data(pdv(b"abc", 2, 3)), 6),  # a data set without its command
        (p_data(pdv(b"\xff" * 200, 3, 3)), 6),
        (p_data(pdv(b"", 3, 3)), 6),
        (p_data(pdv(bytes(60000), 1, 3)), 6),  # a command without end
        (p_data(pdv(c_store_rq("1.2.3"), 3), pdv(c_echo_rq(), 3, 3)), 6),  # a command where the data set must be
        (p_data(pdv(c_store_rq("1.2.3"), 3)) + RELEASE_RQ, 2),
    ],
)
def test_c12_what_may_not_come_on_an_association_aborts_it(node, data, reason):
    with RawPeer(node.port, ENEMY) as peer:
        peer.associate().send(data)
        kind, body = peer.pdu()
        assert (kind, body) == (ABORTED, bytes((0, 0, 2, reason)))
        assert peer.closed_within(LIMIT_S)


@pytest.mark.parametrize("end", ["reset", "close", "abort"])
@pytest.mark.parametrize(
    "data",
    [
        b"",
        RELEASE_RQ[:3],
        p_data(pdv(c_echo_rq(), 3, 3)),
        p_data(pdv(c_store_rq("1.2.3")[:20], 1)),
        p_data(pdv(c_store_rq("1.2.3"), 3)),
        p_data(pdv(c_store_rq("1.2.3"), 3)) + p_data(pdv(bytes(5000), 0)),
        p_data(pdv(c_store_rq("1.2.3"), 3)) + p_data(pdv(bytes(5000), 0))[:99],
        p_data(pdv(c_store_rq("1.2.3"), 3)) + p_data(pdv(radiograph("1.2.3"), 2)),
        RELEASE_RQ,
    ],
    ids=["idle", "pdu", "echo", "command", "requested", "data", "inside-data", "stored", "released"],
)
def test_c13_a_peer_that_vanishes_in_any_state_leaves_nothing(node, data, end):
    with RawPeer(node.port, ENEMY) as peer:
        peer.associate().send(data)
        if end == "reset":
            peer.reset()
        elif end == "abort":
            peer.send(ABORT)


@pytest.mark.parametrize("count", [0, 3, 50])
def test_c13_a_peer_that_resets_before_it_has_an_association_leaves_nothing(node, count):
    with RawPeer(node.port, ENEMY) as peer:
        peer.send(associate_rq(STORE)[:count]).reset()


def test_c14_many_associations_cost_no_memory_and_no_thread(node):
    process = node.process("node")
    for _ in range(50):
        echo_answered(node.port)
    before = process.memory_info().rss
    for _ in range(300):
        echo_answered(node.port)
    until(lambda: process.memory_info().rss - before < 5e6, LIMIT_S, "it is as small as before")
    until(lambda: process.num_threads() <= quiet_threads(node), LIMIT_S, "all threads have ended")


def test_c15_without_descriptors_new_peers_are_refused_and_the_present_one_is_served(node):
    process = node.process("node")
    before, told = process.rlimit(resource.RLIMIT_NOFILE), len(turned_away(node))
    with RawPeer(node.port) as present, ExitStack() as open_peers:
        present.associate()
        process.rlimit(resource.RLIMIT_NOFILE, (process.num_fds() + 8, before[1]))
        try:
            crowd = [open_peers.enter_context(RawPeer(node.port, f"127.0.2.{number}")) for number in range(1, 25)]
            until(lambda: len(turned_away(node)) >= told + 12, LIMIT_S, "half of the crowd or more is refused")
            assert present.echo() == 0
            assert all(peer.closed_within(LIMIT_S) for peer in crowd)
            assert present.store("1.2.3.15", radiograph("1.2.3.15")) == 0
        finally:
            process.rlimit(resource.RLIMIT_NOFILE, before)


def turned_away(node: Node) -> list[dict]:
    return [event for event in node.events("connection.refused") if "descriptor" in event["reason"]]


@pytest.mark.parametrize("title", [b"../../evil", b"a ; rm -rf /", b"\x1b[31mred", b"a\nb", b"\0\0", b"", b"\xff\xfe"])
def test_c16_a_hostile_title_is_nowhere_but_in_the_comparison(node, title):
    legal = title.isascii() and title.decode().isprintable() and title != b""
    with RawPeer(node.port) as peer:
        kind, body = peer.send(associate_rq(STORE, calling=title)).pdu()
        assert (kind, body[:4] if kind == REJECTED else b"") == ((ACCEPTED, b"") if legal else (REJECTED, b"\0\1\1\3"))
        peer.send(RELEASE_RQ)
    raw = node.log.read_bytes()
    assert b"\x1b" not in raw
    assert b"\\u001b" not in raw


@pytest.mark.parametrize("uid", ["../../../../x", "1.2.3;reboot", "1.2.3\n4", "1.2\0.3", "1" * 65, "", "1.2.\xff"])
def test_c17_a_uid_that_is_none_is_answered_and_never_becomes_a_name(node, uid):
    with RawPeer(node.port) as peer:
        assert peer.associate().store(uid, radiograph("1.2.3.17")) == 0xC000
        assert peer.echo() == 0


@pytest.mark.parametrize("depth", [65, 1000, 20_000])
def test_c23_deep_nesting_is_answered_at_once(node, depth):
    bomb = b"\x08\0\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff" * depth
    with RawPeer(node.port) as peer:
        peer.associate()
        assert peer.store("1.2.3.23", bomb) == 0xC000


def test_c33_other_services_are_refused_on_the_association_that_stays(node):
    with RawPeer(node.port) as peer:
        peer.associate()
        find = c_echo_rq().replace(b"\x30\0\0\0\x10\1", b"\x20\0\0\0\x10\1")
        peer.send(p_data(pdv(find, 3, 3)))
        kind, body = peer.pdu()
        assert (kind, status_of(body)) == (DATA, 0x0211)
        peer.send(p_data(pdv(c_store_rq("1.2.3"), 3, 3)) + p_data(pdv(b"1234", 2, 3)))
        kind, body = peer.pdu()
        assert (kind, status_of(body)) == (DATA, 0x0122)
        peer.send(RELEASE_RQ)
        assert peer.pdu()[0] == RELEASED


def test_c52_nothing_listens_but_the_dicom_port(node):
    listening = {
        connection.laddr.port
        for process in node.tree()
        for connection in connections(process)
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {node.port}


def connections(process: psutil.Process) -> list:
    try:
        return process.net_connections("inet")
    except psutil.NoSuchProcess:  # a helper that has done its work
        return []
