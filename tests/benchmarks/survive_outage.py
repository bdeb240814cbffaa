"""A PACS that is down for 72 hours while 10,000 results wait for it, and receiving meanwhile (C42, figure 19).

The ledger and the courier are the node's own; the 72 hours are those of a clock that is moved. What receiving costs is
taken from two running nodes in turn, whose PACS is down: one with the queue, one with nothing to send.
"""

from __future__ import annotations

import json
import logging
import shutil
import statistics
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import structlog

from tests.benchmarks.survive_receivers import CALLED, Receiver
from tests.benchmarks.survive_table import Sight
from tests.support.outage import Delivered, Outage
from tests.support.wire import CR, EXPLICIT, RawPeer, context
from tests.unit.part10.test_header import a_radiograph, encoded

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.benchmarks.survive_table import Scale

_LONGEST_S = 60.0  # the default of retry_longest_s
_ROUNDS, _A_ROUND, _SIZE = 9, 60, 500_000
_UNCHANGED = 0.9  # the machine does other things too


def rows(folder: Path, scale: Scale) -> Iterator[tuple[str, str, Sight]]:
    """Yield what was seen while the PACS was down, of receiving meanwhile, and when it was back."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    settings = {"retry_first_s": 5.0, "retry_longest_s": _LONGEST_S}
    hours = scale.outage_hours
    outage = Outage(folder / "waiting", time.time() - hours * 3600.0, **settings)
    with outage.node:
        outage.fill(scale.results, hours)
        kept = outage.node.known("pacs")["waiting"]
        shutil.copytree(folder / "waiting", folder / "busy" / "files")  # a ledger has one owner
        with ExitStack() as running:
            busy = running.enter_context(_WithPacs(folder / "busy", outage))
            calm = running.enter_context(_WithPacs(folder / "calm", outage))
            receiving = _receiving(busy, calm)
        began = time.monotonic()
        delivered = outage.end()
        took = time.monotonic() - began
    results = f"{scale.results} results"
    yield _asked(results, hours, kept, delivered)
    yield f"receiving with {results} waiting and the PACS down", "as without", receiving
    yield _back(results, delivered, took)


class _WithPacs(Receiver):
    """The node with a PACS that is down."""

    def __init__(self, folder: Path, outage: Outage) -> None:
        super().__init__("dicom-node", folder)
        self._block = outage.pacs.destination()

    def command(self) -> list[str]:
        """Return the node's command, the PACS in its settings."""
        line = super().command()
        values = [f"{key} = {json.dumps(value)}" for key, value in self._block.items()]
        with (self.folder / "node.toml").open("a", encoding="utf-8") as config:
            config.write("\n".join(["[[destinations]]", *values]) + "\n")
        return line


def _receiving(busy: Receiver, calm: Receiver) -> Sight:
    rates: dict[Receiver, list[float]] = {busy: [], calm: []}
    for number in range(_ROUNDS):
        for receiver in (busy, calm) if number % 2 else (calm, busy):
            rates[receiver].append(_rate(receiver, number))
    with_queue, without = statistics.median(rates[busy]), statistics.median(rates[calm])
    more = busy.memory_mb() - calm.memory_mb()
    text = f"{with_queue:.0f} against {without:.0f} MB/s ({with_queue / without:.2f}), memory {more:+.1f} MB"
    return Sight(text, with_queue >= _UNCHANGED * without and more <= 16.0)


def _rate(receiver: Receiver, number: int) -> float:
    """Return the MB/s of instances on one association."""
    items = []
    for item in range(_A_ROUND):
        ds = a_radiograph()
        ds.SOPInstanceUID = uid = f"1.2.3.42.{number}.{item}"
        ds.add_new(0x7FE00010, "OW", bytes(_SIZE))
        items.append((uid, encoded(ds)))
    with RawPeer(receiver.port) as peer:
        peer.associate(context(1, CR, (EXPLICIT,)), called=CALLED.encode())
        began = time.monotonic()
        for uid, data in items:
            status = peer.store(uid, data)
            if status:
                message = f"an instance was refused with 0x{status:04X}"
                raise RuntimeError(message)
        return sum(len(data) for _, data in items) / 1e6 / (time.monotonic() - began)


def _asked(results: str, hours: float, kept: int, delivered: Delivered) -> tuple[str, str, Sight]:
    most = int(hours * 3600 / (_LONGEST_S * 0.75)) + 10  # a wait is a quarter shorter at the least
    pause = hours * 3600 / delivered.tries
    text = f"{delivered.tries} connections, one every {pause:.0f} s; {delivered.dead} given up"
    held = delivered.tries <= most and kept == len(delivered.wanted) and not delivered.dead
    return f"PACS refuses for {hours:.0f} h, {results}", "a connection a wait, none given up", Sight(text, held)


def _back(results: str, delivered: Delivered, took_s: float) -> tuple[str, str, Sight]:
    order = "all once, positives first" if delivered.is_whole else "LOST, DOUBLED OR OUT OF ORDER"
    when = f"the first after {delivered.first_s:.0f} s, drained in {took_s:.0f} s"
    held = delivered.is_whole and delivered.first_s <= _LONGEST_S
    text = f"{len(delivered.stored)} delivered, {order}; {when}"
    return f"PACS back, {results}", "all delivered once, the first within 60 s", Sight(text, held)
