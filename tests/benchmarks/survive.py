"""Hostile peers in numbers too large for a test run, against one running node: case, expected, seen."""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from dicom_node.dimse.pdu import HEADER
from tests.benchmarks import bombs
from tests.benchmarks.bombs import Seen
from tests.support.node import Node, unfinished
from tests.support.system import BUNDLE
from tests.support.wire import CR, EXPLICIT, RawPeer, associate_rq, c_store_rq, context, echo_answered, p_data, pdv
from tests.unit.part10.test_header import a_radiograph, encoded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_STORE = context(1, CR, (EXPLICIT,))
_MB = 1e6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's options."""
    parser.add_argument("--associations", type=int, default=10_000, help="of case C14 (default %(default)s)")
    parser.add_argument("--watch-s", type=float, default=15.0, help="seconds to watch the stalled peers of C1 and C2")
    parser.add_argument("--bundle", type=Path, default=BUNDLE, help="folder of the model bundle")
    parser.add_argument("--json", type=Path, help="write the table to this file")


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Run the cases and print the table; 0 where every promise held."""
    rows = bombs.measured()
    with tempfile.TemporaryDirectory(prefix="dicom-node-survive-") as folder:
        node = Node(Path(folder) / "node", arguments.bundle, quiet_s=3600.0)
        node.start()
        try:
            for case in _cases(arguments):
                rows.append(case(node))
                console.print(f"{rows[-1].case}: {rows[-1].seen}")
        finally:
            node.stop()
    table = Table("case", "expected", "seen", "")
    for row in rows:
        table.add_row(row.case, row.expected, row.seen, "held" if row.held else "[red]NOT HELD[/red]")
    console.print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    return 0 if all(row.held for row in rows) else 1


def _cases(arguments: argparse.Namespace) -> Iterator[Callable[[Node], Seen]]:
    yield lambda node: _starve(node, arguments.watch_s)
    yield _absurd_pdu
    yield _endless_object
    yield _flood
    yield lambda node: _many(node, arguments.associations)
    yield _idle
    yield _large_objects
    yield _stop


def _rss(node: Node) -> float:
    process = node.process("node")
    assert process is not None
    return float(process.memory_info().rss) / _MB


def _threads(node: Node) -> int:
    process = node.process("node")
    assert process is not None
    return int(process.num_threads())


def _echo_s(node: Node) -> float:
    """Return the seconds of an honest peer's C-ECHO, or ten where it has none."""
    started = time.monotonic()
    try:
        echo_answered(node.port, timeout_s=10.0)
    except (AssertionError, OSError):
        return 10.0
    return time.monotonic() - started


def _starve(node: Node, watch_s: float) -> Seen:
    """Hold 100 silent and 100 stalled connections from 40 addresses, renewed as they are closed."""
    worst, end = 0.0, time.monotonic() + watch_s
    while time.monotonic() < end:
        with ExitStack() as held:
            for number in range(200):
                peer = held.enter_context(RawPeer(node.port, f"127.1.0.{number % 40 + 1}"))
                if number % 2:
                    with suppress(OSError):
                        peer.send(associate_rq(_STORE)[:7])
            for _ in range(5):
                worst = max(worst, _echo_s(node))
                time.sleep(0.5)
    return Seen("C1 C2", "C-ECHO within 1 s, always", f"slowest C-ECHO {worst * 1e3:.0f} ms", worst <= 1.0)


def _absurd_pdu(node: Node) -> Seen:
    before = _rss(node)
    with RawPeer(node.port) as peer, suppress(OSError):
        peer.send(HEADER.pack(1, 0xFFFFFFFF))
        for _ in range(600):
            peer.send(bytes(1 << 20))
    grown = _rss(node) - before
    return Seen("C4", "4 GiB A-ASSOCIATE-RQ: RSS + 8 MB at most", f"RSS {grown:+.1f} MB", grown <= 8.0)


def _endless_object(node: Node) -> Seen:
    before, peak, sent = _rss(node), 0.0, 0
    block = p_data(pdv(bytes(65536), 0)) * 16
    with RawPeer(node.port) as peer, suppress(OSError):
        peer.associate(_STORE).send(p_data(pdv(c_store_rq("1.2.3"), 3)))
        for _ in range(2000):
            peer.send(block)
            sent += 1
            peak = max(peak, _rss(node) - before)
    left = unfinished(node.state_dir)
    held = peak <= 32.0 and not left and sent < 2000
    return Seen(
        "C6", "cut at the cap, no file left, RSS + 32 MB at most", f"RSS {peak:+.1f} MB, files {len(left)}", held
    )


def _flood(node: Node) -> Seen:
    """Open 200 associations a second from 20 addresses for five seconds, and keep them all."""
    end, number = time.monotonic() + 5.0, 0
    with ExitStack() as held:
        while time.monotonic() < end:
            with suppress(OSError):
                peer = held.enter_context(RawPeer(node.port, f"127.2.0.{number % 20 + 1}"))
                peer.send(associate_rq(_STORE))
            number += 1
            time.sleep(0.005)
    started = time.monotonic()
    while _echo_s(node) > 1.0 and time.monotonic() - started < 60.0:
        time.sleep(0.1)
    recovered = time.monotonic() - started
    return Seen(
        "C10", "served again 5 s after the flood", f"after {recovered:.1f} s ({number} peers)", recovered <= 5.0
    )


def _many(node: Node, count: int) -> Seen:
    for _ in range(200):
        echo_answered(node.port)
    before, threads, started = _rss(node), _threads(node), time.monotonic()
    for _ in range(count):
        echo_answered(node.port)
    rate = count / (time.monotonic() - started)
    time.sleep(2.0)
    grown, more = _rss(node) - before, _threads(node) - threads
    seen = f"RSS {grown:+.1f} MB, threads {more:+d}, {rate:.0f} associations/s"
    return Seen(f"C14, {count}", "RSS + 5 MB at most, no thread", seen, grown <= 5.0 and more <= 0)


def _idle(node: Node) -> Seen:
    process = node.process("node")
    assert process is not None
    with ExitStack() as held:
        for _ in range(20):
            held.enter_context(RawPeer(node.port)).associate(_STORE)
        used = process.cpu_times()
        time.sleep(10.0)
        after = process.cpu_times()
    share = (after.user + after.system - used.user - used.system) / 10.0
    return Seen("20 idle", "0.05 core at most", f"{share:.3f} core", share <= 0.05)


def _large_objects(node: Node) -> Seen:
    """Send 25 MB objects on 20 associations at once, four on each."""
    peak, failed = 0.0, 0

    def send(thread: int) -> None:
        nonlocal failed
        with RawPeer(node.port, timeout_s=120.0) as peer:
            peer.associate(_STORE)
            for number in range(4):
                ds = a_radiograph()
                ds.SOPInstanceUID = f"1.2.3.25.{thread}.{number}"
                ds.add_new(0x7FE00010, "OW", bytes(25_000_000))
                failed += peer.store(ds.SOPInstanceUID, encoded(ds)) != 0

    threads = [threading.Thread(target=send, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        peak = max(peak, _rss(node))
        time.sleep(0.02)
    held = peak <= 150.0 and not failed
    return Seen("20 x 25 MB", "all stored, node's RSS 150 MB at most", f"peak RSS {peak:.0f} MB, {failed} failed", held)


def _stop(node: Node) -> Seen:
    """Stop the node while five peers stall in the middle of an instance and ten are idle."""
    with ExitStack() as held:
        for number in range(15):
            peer = held.enter_context(RawPeer(node.port)).associate(_STORE)
            if number < 5:
                peer.send(p_data(pdv(c_store_rq("1.2.3"), 3)) + p_data(pdv(bytes(999), 0))[:500])
        started = time.monotonic()
        status = node.stop(60.0)
        took = time.monotonic() - started
    held_ = status == 0 and took <= 35.0
    return Seen("C47", "exit status 0 within 35 s", f"{status} after {took:.1f} s", held_)
