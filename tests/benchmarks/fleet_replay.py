"""Sending a part of a day to a real node faster than it happened, to a loopback PACS that takes the results."""

from __future__ import annotations

import struct
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.benchmarks.fleet_arrivals import Image, Send
from tests.benchmarks.fleet_images import Template, Templates, fresh_uid
from tests.benchmarks.ingest_sender import _max_length
from tests.support.node import Node
from tests.support.stub_pacs import StubPacs
from tests.support.usage import Watch
from tests.support.wire import RELEASE_RQ, RawPeer, associate_rq, c_store_rq, context, p_data, pdv, status_of

SENDERS = 8  # associations that the PACS opens at once
TRIES, PAUSE_S = 30, 1.0  # what a PACS does that is told to come back
SETTLE_S = 900.0
UNFINISHED = {"waiting", "composing"}
_SR, _SC, _PR = "1.2.840.10008.5.1.4.1.1.88.34", "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.11.1"
_EXPLICIT, _JPEG_LS = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.80"
_PDU = 128 * 1024


class Pacs(StubPacs):
    """Takes results and remembers when (epoch seconds, by SOP Instance UID)."""

    def __init__(self) -> None:
        contexts = ((_SR, _EXPLICIT), (_PR, _EXPLICIT), (_SC, _JPEG_LS))
        super().__init__(*contexts)
        self.taken_at: dict[str, float] = {}

    def _store(self, event: Any) -> int:
        status = super()._store(event)
        self.taken_at[str(event.request.AffectedSOPInstanceUID)] = time.time()
        return status


@dataclass(frozen=True)
class Sent:
    """One instance on its way: who it is, how large, when it was wanted there, and when it was asked and answered."""

    study_uid: str
    instance_uid: str
    image: Image
    again: bool
    megabytes: float
    due_at: float
    asked_at: float
    answered_at: float
    status: int


@dataclass
class Timeline:
    """CPU seconds of each role by the time of day (epoch seconds)."""

    moments: list[float] = field(default_factory=list)
    cpu_s: list[dict[str, float]] = field(default_factory=list)


class Recorder(Watch):
    """A watch that also keeps what it saw at each moment."""

    def __init__(self, node: Node) -> None:
        super().__init__(node, every_s=0.5)
        self.timeline = Timeline()

    def _sample(self) -> None:
        super()._sample()
        self.timeline.moments.append(time.time())
        self.timeline.cpu_s.append({role: used.cpu_s for role, used in self.usage.items()})


@dataclass(frozen=True)
class Pace:
    """The second of the day that a replay begins with, how many times faster it runs, and the times that it scales."""

    begin_s: float
    speed: float
    quiet_s: float = 30.0
    max_wait_s: float = 600.0


@dataclass
class Replay:
    """A replay that has ended: what was sent, and what the node and the PACS (time by instance) were left with."""

    node: Node
    started_at: float
    ended_at: float
    sent: list[Sent]
    retried: int
    unfinished: int
    taken_at: dict[str, float]
    recorder: Recorder
    load_average: tuple[float, float]
    own_cpu_s: float


class Sender:
    """Sends what is due, on an association for each; failures are tried again as a PACS does."""

    def __init__(self, node: Node, templates: Templates) -> None:
        self._port = node.port
        self._templates = templates
        self._uids: dict[object, str] = {}
        self._lock = threading.Lock()
        self.sent: list[Sent] = []
        self.retried = 0

    def send(self, send: Send, due_at: float) -> None:
        """Send one batch; raises nothing: what was never answered is counted at the end."""
        left = list(send.images)
        for _ in range(TRIES):
            try:
                self._associate(left, due_at, again=send.again)
            except (OSError, AssertionError, ValueError, struct.error):
                self.retried += 1
                time.sleep(PAUSE_S)
                continue
            if not left:
                return
            self.retried += 1
            time.sleep(PAUSE_S)

    def uid(self, *key: object) -> str:
        """Return the UID of a study, series or instance: one for each key."""
        with self._lock:
            return self._uids.setdefault(key, fresh_uid())

    def _associate(self, left: list[Image], due_at: float, *, again: bool) -> None:
        """Send the images on one association; those that were stored leave the list."""
        parts = [(image, self._templates.of(image)) for image in left]
        wanted = list(dict.fromkeys((p.sop_class_uid, p.transfer_syntax_uid) for _, p in parts))
        items = b"".join(context(2 * n + 1, c, (syntax,)) for n, (c, syntax) in enumerate(wanted))
        with RawPeer(self._port, timeout_s=60.0) as peer:
            peer.send(associate_rq(items, calling=b"PACS"))
            kind, body = peer.pdu()
            assert kind == 2, "the association was not accepted"
            room = min(_max_length(body) or _PDU, _PDU) - 6
            for image, part in parts:
                number = 2 * wanted.index((part.sop_class_uid, part.transfer_syntax_uid)) + 1
                sent = self._store(peer, image, part, (number, room, due_at, again))
                with self._lock:
                    self.sent.append(sent)
                if sent.status == 0:
                    left.remove(image)
            peer.send(RELEASE_RQ).pdu()

    def _store(self, peer: RawPeer, image: Image, part: Template, how: tuple[int, int, float, bool]) -> Sent:
        number, room, due_at, again = how
        study, instance = self.uid(image.study), self.uid(image.study, image.number)
        series = self.uid(image.study, image.number, "series")
        data = part.filled(study, series, instance, f"A{image.study:010d}")
        asked_at = time.time()
        peer.send(p_data(pdv(c_store_rq(instance, part.sop_class_uid), 3, number)))
        _send_data(peer, memoryview(data), number, room)
        kind, answer = peer.pdu()
        assert kind == 4, "the node ended the association"
        times = (due_at, asked_at, time.time())
        return Sent(study, instance, image, again, len(data) / 1e6, *times, status_of(answer))


def _send_data(peer: RawPeer, data: memoryview, number: int, room: int) -> None:
    for start in range(0, len(data), room):
        piece = data[start : start + room]
        head = struct.pack(">BxIIBB", 4, len(piece) + 6, len(piece) + 2, number, 2 * (start + room >= len(data)))
        sent = peer.sock.sendmsg([head, piece])
        if sent < len(head) + len(piece):
            peer.sock.sendall((head + bytes(piece))[sent:])


def replay(folder: Path, bundle: Path, sends: list[Send], seed: int, pace: Pace, console: Console) -> Replay:
    """Send it all at its pace, wait until everything is answered, and return what happened."""
    columns = (TextColumn("{task.description:16}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        kinds = {image.kind for send in sends for image in send.images}
        task = progress.add_task("making images", total=len(kinds))
        templates = Templates(kinds, seed, lambda: progress.advance(task))
        node = Node(folder / "node", bundle, quiet_s=pace.quiet_s / pace.speed)
        node.settings["study"]["max_wait_s"] = pace.max_wait_s / pace.speed
        with Pacs() as pacs:
            node.sends_to("pacs", "STUB", pacs.port)
            with node, Recorder(node) as recorder:
                before = psutil.getloadavg()[0]
                sender = Sender(node, templates)
                started_at, own_s = time.time(), time.process_time()
                _send_all(sender, sends, started_at, pace, progress)
                unfinished = _settle(node, progress)
                ended_at, own_s = time.time(), time.process_time() - own_s
    load = (before, psutil.getloadavg()[0])
    return Replay(
        node, started_at, ended_at, sender.sent, sender.retried, unfinished, pacs.taken_at, recorder, load, own_s
    )


def _send_all(sender: Sender, sends: list[Send], started_at: float, pace: Pace, progress: Progress) -> None:
    """Hand each batch over when it is due; returns when the last one was answered."""
    task = progress.add_task("batches sent", total=len(sends))
    pending: list[Future[None]] = []
    with ThreadPoolExecutor(SENDERS) as pool:
        for send in sends:
            due_at = started_at + (send.at_s - pace.begin_s) / pace.speed
            time.sleep(max(due_at - time.time(), 0.0))
            pending.append(pool.submit(sender.send, send, due_at))
            pending[-1].add_done_callback(lambda _: progress.advance(task))
    for one in pending:
        one.result()


def _settle(node: Node, progress: Progress) -> int:
    """Wait until every study is closed and every result delivered; returns how many were not when it gave up."""
    task = progress.add_task("studies answered", total=None)
    end, left = time.monotonic() + SETTLE_S, 1
    while left and time.monotonic() < end:
        time.sleep(1.0)
        studies = node.studies().values()
        waiting = node.overview().destinations().get("pacs", {}).get("waiting", 0)
        left = int(waiting) + sum(s["state"] == "open" or s["result"] in UNFINISHED for s in studies)
        progress.update(task, total=len(studies), completed=len(studies) - left)
    return left
