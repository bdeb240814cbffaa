"""What a replay shows: nothing lost, how long answers took, and how long each step takes by itself."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from tests.benchmarks.fleet_arrivals import Image
from tests.benchmarks.fleet_paper import Outcome, Service, kind_name, study_name
from tests.benchmarks.fleet_replay import Pace, Replay
from tests.support.node import moment


@dataclass(frozen=True)
class Percentiles:
    """How times are spread, seconds."""

    samples: int
    p50: float
    p95: float
    p99: float
    longest: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Percentiles:
        """Return the percentiles of some values; nought where there are none."""
        found = list(values)
        array = np.array(found or [0.0])
        p50, p95, p99 = (float(np.percentile(array, q)) for q in (50, 95, 99))
        return cls(len(found), p50, p95, p99, float(array.max()))


@dataclass
class Version:
    """One published version of a study, with the moments (epoch seconds) of its way."""

    study_uid: str
    views: tuple[Image, ...]
    due_at: float
    ready_at: float
    published_at: float
    taken_at: float


@dataclass
class Seen:
    """What the node's log says, put together."""

    outcome: Outcome = field(default_factory=Outcome)
    service: Service | None = None
    versions: list[Version] = field(default_factory=list)


@dataclass(frozen=True)
class Counts:
    """What was sent, and what became of it."""

    studies: int
    images: int
    radiographs: int
    gigabytes: float
    sent_again: int
    acknowledged: int
    retried: int
    versions: int
    analysed: int
    lost: int
    unanswered: int
    late_sender_s: float
    outcomes: dict[str, int]


def counted(replay: Replay) -> Counts:
    """Hold what was sent against what the node lists and the PACS has; lost must be nought."""
    sent = [s for s in replay.sent if s.status == 0]
    fresh = {s.instance_uid: s for s in sent}
    listed = {row["sop_instance_uid"] for row in replay.node.instances()}
    wanted: dict[str, set[str]] = defaultdict(set)
    for one in fresh.values():
        if one.image.kind.is_radiograph:
            wanted[one.study_uid].add(one.instance_uid)
    outcomes: Counter[str] = Counter()
    unanswered = versions = 0
    for uid, views in wanted.items():
        published = [v for v in replay.node.study(uid)["versions"] if v["state"] == "published"]
        versions += len(published)
        in_pacs = [v for v in published if _report(v) in replay.taken_at]
        unanswered += not in_pacs or set(in_pacs[-1]["views"]) != views
        outcomes[published[-1]["outcome"] if published else "none"] += 1
    return Counts(
        studies=len({s.study_uid for s in replay.sent}),
        images=len({s.instance_uid for s in replay.sent}),
        radiographs=sum(map(len, wanted.values())),
        gigabytes=sum(s.megabytes for s in replay.sent) / 1e3,
        sent_again=sum(s.again for s in sent),
        acknowledged=len(sent),
        retried=replay.retried,
        versions=versions,
        analysed=sum(bool(e.get("engine_ms")) for e in replay.node.events("image.analysed")),
        lost=len(set(fresh) - listed) + len({s.instance_uid for s in replay.sent} - set(fresh)),
        unanswered=unanswered,
        late_sender_s=max((float(s.asked_at - s.due_at) for s in replay.sent), default=0.0),
        outcomes=dict(sorted(outcomes.items())),
    )


def _report(version: dict[str, Any]) -> str:
    """Return the UID of the report that a version's first choice is."""
    return next((o["sop_instance_uid"] for o in version["objects"] if o["sop_class_uid"].endswith(".88.34")), "")


class _Log:
    """Reads the log once, in order, and keeps what belongs together."""

    def __init__(self, replay: Replay, quiet_s: float) -> None:
        self._images = {s.instance_uid: s.image for s in replay.sent}
        self._quiet_s = quiet_s
        self._taken_at = replay.taken_at
        self._node = replay.node
        self._stored: dict[str, float] = {}
        self._analysed: dict[str, float] = {}
        self._views: dict[str, list[str]] = defaultdict(list)
        self._closed: dict[tuple[str, int], tuple[float, tuple[str, ...]]] = {}
        self._versions: dict[tuple[str, int], Version] = {}
        self._worker_free_at = self._courier_free_at = 0.0
        self.work: list[tuple[float, float]] = []
        self.waits: list[tuple[float, float]] = []
        self.analyse: dict[str, list[float]] = defaultdict(list)
        self.compose: dict[str, list[float]] = defaultdict(list)
        self.send: list[float] = []

    def read(self) -> list[Version]:
        """Go through it."""
        does = {
            "instance.stored": self._on_stored,
            "image.analysed": self._on_analysed,
            "study.closed": self._on_closed,
            "result.published": self._on_published,
            "delivery.done": self._on_done,
        }
        for event in self._node.events():
            if event.get("event") in does:
                does[event["event"]](event, moment(event))
        return list(self._versions.values())

    def _on_stored(self, event: dict[str, Any], now: float) -> None:
        if event["role"] == "view":
            self._stored.setdefault(event["sop_instance"], now)
            self._views[event["study"]].append(event["sop_instance"])

    def _on_analysed(self, event: dict[str, Any], now: float) -> None:
        uid = event["sop_instance"]
        self._analysed[uid] = now
        self.waits.append((self._stored[uid], now))
        self.analyse[kind_name(self._images[uid].kind)].append(self._worked(self._stored[uid], now))

    def _on_closed(self, event: dict[str, Any], now: float) -> None:
        if event["version"] is not None:
            self._closed[event["study"], event["version"]] = (now, tuple(dict.fromkeys(self._views[event["study"]])))

    def _on_published(self, event: dict[str, Any], now: float) -> None:
        key = (event["study"], event["version"])
        closed_at, uids = self._closed[key]
        due_at = min(max(self._stored[uid] for uid in uids) + self._quiet_s, closed_at)
        ready_at = max(closed_at, *(self._analysed[uid] for uid in uids))
        views = tuple(self._images[uid] for uid in uids)
        self.compose[study_name(views)].append(self._worked(ready_at, now))
        self._versions[key] = Version(event["study"], views, due_at, ready_at, now, now)

    def _on_done(self, event: dict[str, Any], now: float) -> None:
        version = self._versions[event["study"], event["version"]]
        self.send.append(max(now - max(self._courier_free_at, version.published_at), 0.0))
        self._courier_free_at = now
        listed = self._node.study(event["study"])["versions"]
        report = next(_report(v) for v in listed if v["version"] == event["version"])
        version.taken_at = self._taken_at.get(report, now)
        self.waits.append((version.due_at, version.taken_at))

    def _worked(self, ready_at: float, now: float) -> float:
        """Return how long the one worker was at a job: since it was ready, or since the job before was done."""
        start = min(max(self._worker_free_at, ready_at), now)
        self._worker_free_at = now
        self.work.append((start, now))
        return now - start


def seen(replay: Replay, pace: Pace) -> Seen:
    """Return the versions with their moments, what waited when, and the service times by themselves."""
    log = _Log(replay, pace.quiet_s / pace.speed)
    versions = log.read()
    done = [s for s in replay.sent if s.status == 0]
    per_mb, fixed = np.polyfit([s.megabytes for s in done], [s.answered_at - s.asked_at for s in done], 1)
    service = Service(
        max(float(fixed), 0.0),
        max(float(per_mb), 0.0),
        _pooled(log.analyse),
        _pooled(log.compose),
        tuple(log.send),
    )
    turnaround = [v.taken_at - v.due_at for v in versions]
    return Seen(Outcome(turnaround, log.waits, log.work), service, versions)


def _pooled(samples: dict[str, list[float]]) -> dict[str, tuple[float, ...]]:
    return {name: tuple(values) for name, values in samples.items()}


def service_table(service: Service) -> dict[str, Any]:
    """Return the service times for the JSON file: percentiles of each name."""
    return {
        "receive_s": service.receive_s,
        "receive_s_per_mb": service.receive_s_per_mb,
        "analyse": {name: asdict(Percentiles.of(values)) for name, values in sorted(service.analyse.items())},
        "compose": {name: asdict(Percentiles.of(values)) for name, values in sorted(service.compose.items())},
        "send": asdict(Percentiles.of(service.send)),
    }


def mean(values: Sequence[float]) -> float:
    """Return the mean; nought of nothing."""
    return sum(values) / len(values) if values else 0.0
