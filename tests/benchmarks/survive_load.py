"""What many peers cost a receiver (C14, idle and large associations), and how it stops while peers stall (C47)."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack, suppress

from tests.benchmarks.survive_network import STORE
from tests.benchmarks.survive_receivers import CALLED, Receiver
from tests.benchmarks.survive_table import Case, Scale, Sight
from tests.support.wire import RawPeer, c_store_rq, p_data, pdv
from tests.unit.part10.test_header import a_radiograph, encoded

_LARGE = 25_000_000
_STOP_S = 60.0


def _associated(receiver: Receiver, stack: ExitStack, count: int) -> list[RawPeer]:
    """Return the associations that the receiver accepts, of so many that are asked for."""
    found = []
    for _ in range(count):
        with suppress(OSError, AssertionError):
            peer = stack.enter_context(RawPeer(receiver.port, timeout_s=2.0))
            found.append(peer.associate(STORE, called=CALLED.encode()))
    return found


def _many(receiver: Receiver, scale: Scale) -> Sight:
    """Open, use and release associations one after the other; the first 200 are not counted."""
    for _ in range(200):
        receiver.echo_s()
    before, threads, done, began = receiver.memory_mb(), receiver.threads(), 0, time.monotonic()
    while done < scale.associations and (receiver.is_node or time.monotonic() - began < scale.associations_s):
        done += receiver.echo_s() is not None
    rate = done / (time.monotonic() - began)
    time.sleep(2.0)
    grown, more = receiver.memory_mb() - before, receiver.threads() - threads
    text = f"{done}: {grown:+.1f} MB, threads {more:+d}, {rate:.0f}/s"
    return Sight(text, done == scale.associations and grown <= 5.0 and more <= 0)


def _idle(receiver: Receiver, _scale: Scale) -> Sight:
    with ExitStack() as held:
        count = len(_associated(receiver, held, 20))
        used = receiver.cpu_s()
        time.sleep(10.0)
        share = (receiver.cpu_s() - used) / 10.0
    return Sight(f"{share:.3f} core, {count} accepted", share <= 0.05 and count == 20)


def _large(receiver: Receiver, scale: Scale) -> Sight:
    """Send objects of 25 MB on 20 associations at once."""
    stored: list[str] = []

    def send(thread: int) -> None:
        with suppress(OSError, AssertionError, ValueError), RawPeer(receiver.port, timeout_s=60.0) as peer:
            peer.associate(STORE, called=CALLED.encode())
            for number in range(scale.large_each):
                ds = a_radiograph()
                ds.SOPInstanceUID = uid = f"1.2.3.25.{thread}.{number}"
                ds.add_new(0x7FE00010, "OW", bytes(_LARGE))
                stored.extend([uid] if peer.store(uid, encoded(ds), 16384) == 0 else [])

    receiver.forget_peak()
    began, threads = time.monotonic(), [threading.Thread(target=send, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rate, whole = len(stored) * _LARGE / 1e6 / (time.monotonic() - began), 20 * scale.large_each
    peak = receiver.grown_mb(0.0)
    text = f"{len(stored)} of {whole} stored, peak {peak:.0f} MB, {rate:.0f} MB/s"
    return Sight(f"{text}; {receiver.ended}" if receiver.ended else text, peak <= 150.0 and len(stored) == whole)


def _stop(receiver: Receiver, _scale: Scale) -> Sight:
    """Send SIGTERM while five peers stall in the middle of an instance and five are idle."""
    with ExitStack() as held:
        for peer in _associated(receiver, held, 10)[:5]:
            peer.send(p_data(pdv(c_store_rq("1.2.3"), 3)) + p_data(pdv(bytes(999), 0))[:500])
        status, took = receiver.terminate(_STOP_S)
    text = f"status {status} after {took:.1f} s" if status is not None else f"still there after {_STOP_S:.0f} s"
    return Sight(text, status == 0 and took <= 35.0)


CASES = (
    Case("C14", "10,000 associations, one after the other", "+5 MB at most, no thread", _many),
    Case("figure 9", "20 idle associations", "0.05 core at most", _idle),
    Case("figure 7", "20 associations, objects of 25 MB", "all stored, 150 MB at most", _large),
    Case("C47", "SIGTERM with 5 stalled and 5 idle peers", "status 0 within 35 s", _stop),
)
