"""The node on paper: a discrete-event simulation of receiving, analysing, closing, composing and sending."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tests.benchmarks.fleet_arrivals import Image, Kind, Send

_COMPOSE, _ANALYSE = 0, 1  # the worker takes a study that only waits for its report before new images


@dataclass(frozen=True)
class Service:
    """Measured times in seconds: samples by what they depend on, drawn again at random."""

    receive_s: float
    receive_s_per_mb: float
    analyse: Mapping[str, tuple[float, ...]]
    compose: Mapping[str, tuple[float, ...]]
    send: tuple[float, ...]


@dataclass
class Outcome:
    """What came of it. A wait lasts from stored or closed to analysed or answered; work is the worker's."""

    turnaround_s: list[float] = field(default_factory=list)
    waits: list[tuple[float, float]] = field(default_factory=list)
    work: list[tuple[float, float]] = field(default_factory=list)


def kind_name(kind: Kind) -> str:
    """Return the name under which an image's analysis is measured."""
    encoding = "lossless" if kind.compressed else "native"
    return f"{kind.region} {kind.modality} {kind.rows}x{kind.columns} {encoding}"


def study_name(images: Iterable[Image]) -> str:
    """Return the name under which a study's composition is measured: its region and its number of views."""
    views = list(images)
    return f"{views[0].kind.region} {len(views)}"


def ages(waits: Iterable[tuple[float, float]], moments: Sequence[float]) -> list[float]:
    """Return how long the oldest of what waits has waited at each moment (ascending); nought where nothing does."""
    coming = deque(sorted(waits))
    here: list[tuple[float, float]] = []
    found = []
    for now in moments:
        while coming and coming[0][0] <= now:
            heapq.heappush(here, coming.popleft())
        while here and here[0][1] <= now:
            heapq.heappop(here)
        found.append(now - here[0][0] if here else 0.0)
    return found


def busy_share(work: Iterable[tuple[float, float]], edges: Sequence[float]) -> list[float]:
    """Return the share of each bin (edges ascending) that some work fills; work does not overlap."""
    starts, ends = np.array(sorted(work), dtype=float).reshape(-1, 2).T
    return [
        float(np.clip(np.minimum(ends, right) - np.maximum(starts, left), 0.0, None).sum() / (right - left))
        for left, right in itertools.pairwise(edges)
    ]


@dataclass
class _Study:
    views: list[Image] = field(default_factory=list)
    unanalysed: set[Image] = field(default_factory=set)
    first_at: float | None = None  # the first view that no version has
    last_at: float = 0.0
    version: _Version | None = None  # the newest, until it is composed


@dataclass
class _Version:
    study: _Study
    views: tuple[Image, ...]
    closed_at: float
    pending: set[Image]


class Paper:
    """One node: receiving in parallel, one worker, one courier."""

    def __init__(self, service: Service, quiet_s: float, max_wait_s: float, seed: int = 0) -> None:
        self._service, self._quiet_s, self._max_wait_s = service, quiet_s, max_wait_s
        self._rng = np.random.default_rng(seed)
        self._events: list[tuple[float, int, str, object]] = []
        self._jobs: list[tuple[int, int, object]] = []
        self._number = 0
        self._studies: dict[int, _Study] = {}
        self._idle = True
        self._courier_free_at = 0.0
        self.outcome = Outcome()
        self._pools = {name: np.array(samples) for name, samples in _pools(service).items()}

    def run(self, sends: Iterable[Send]) -> Outcome:
        """Let everything happen that follows from these sends."""
        for send in sends:
            at = send.at_s
            for image in send.images:
                at += self._service.receive_s + self._service.receive_s_per_mb * image.kind.megabytes
                if image.kind.is_radiograph and not send.again:
                    self._at(at, "stored", image)
        does = {"stored": self._stored, "close": self._close, "analysed": self._analysed, "composed": self._composed}
        while self._events:
            now, _, what, about = heapq.heappop(self._events)
            does[what](now, about)  # type: ignore[operator]
        return self.outcome

    def _at(self, moment: float, what: str, about: object) -> None:
        self._number += 1
        heapq.heappush(self._events, (moment, self._number, what, about))

    def _stored(self, now: float, image: Image) -> None:
        study = self._studies.setdefault(image.study, _Study())
        study.views.append(image)
        study.unanalysed.add(image)
        study.first_at = now if study.first_at is None else study.first_at
        study.last_at = now
        self._at(min(now + self._quiet_s, study.first_at + self._max_wait_s), "close", study)
        self._queue(now, _ANALYSE, (study, image, now))

    def _close(self, now: float, study: _Study) -> None:
        if study.first_at is None or now < min(study.last_at + self._quiet_s, study.first_at + self._max_wait_s):
            return  # closed already, or a later view put it off
        # A version that was never published gives way to this one.
        study.version, study.first_at = _Version(study, tuple(study.views), now, set(study.unanalysed)), None
        if not study.unanalysed:
            self._queue(now, _COMPOSE, study.version)

    def _queue(self, now: float, priority: int, job: object) -> None:
        self._queue_job(priority, job)
        if self._idle:
            self._next(now)

    def _queue_job(self, priority: int, job: object) -> None:
        self._number += 1
        heapq.heappush(self._jobs, (priority, self._number, job))

    def _next(self, now: float) -> None:
        """Give the worker its next job."""
        while self._jobs:
            priority, _, job = heapq.heappop(self._jobs)
            if priority == _ANALYSE:
                took, what = self._draw("analyse", kind_name(job[1].kind)), "analysed"  # type: ignore[index]
            elif job.study.version is job:  # type: ignore[attr-defined]
                took, what = self._draw("compose", study_name(job.views)), "composed"
            else:
                continue  # another version came before this one was begun
            self._idle = False
            self.outcome.work.append((now, now + took))
            self._at(now + took, what, job)
            return
        self._idle = True

    def _analysed(self, now: float, job: tuple[_Study, Image, float]) -> None:
        study, image, stored_at = job
        study.unanalysed.discard(image)
        self.outcome.waits.append((stored_at, now))
        if study.version is not None and image in study.version.pending:
            study.version.pending.discard(image)
            if not study.version.pending:
                self._queue_job(_COMPOSE, study.version)
        self._next(now)

    def _composed(self, now: float, version: _Version) -> None:
        if version.study.version is version:
            version.study.version = None
            self._courier_free_at = max(self._courier_free_at, now) + self._draw("send", "")
            self.outcome.waits.append((version.closed_at, self._courier_free_at))
            self.outcome.turnaround_s.append(self._courier_free_at - version.closed_at)
        self._next(now)

    def _draw(self, what: str, name: str) -> float:
        key = f"{what} {name}"
        if key not in self._pools:
            self._pools[key] = self._pools[_nearest(key, [k for k in self._pools if k.startswith(what)])]
        pool = self._pools[key]
        return float(pool[self._rng.integers(len(pool))])


def _pools(service: Service) -> dict[str, tuple[float, ...]]:
    found = {"send ": service.send}
    found |= {f"analyse {name}": samples for name, samples in service.analyse.items()}
    return found | {f"compose {name}": samples for name, samples in service.compose.items()}


def _nearest(wanted: str, names: Sequence[str]) -> str:
    """Return the measured name that is most like one that was not measured: as much in common from the start."""

    def alike(name: str) -> tuple[int, float]:
        common = next((n for n, (a, b) in enumerate(zip(name, wanted, strict=False)) if a != b), len(wanted))
        last, other = name.rsplit(" ", 1)[-1], wanted.rsplit(" ", 1)[-1]
        near = -abs(int(last) - int(other)) if last.isdecimal() and other.isdecimal() else 0.0
        return (common, near)

    return max(names, key=alike)
