"""The figures a benchmark finds, and how they are read from the node's log."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from tests.support.fracatlas import Study
from tests.support.node import Node, moment
from tests.support.usage import Usage


@dataclass
class Spread:
    """How a measured time is spread over its samples."""

    samples: int
    median: float
    p95: float
    largest: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Return the spread of some values; nought where there are none."""
        array = np.array(list(values) or [0.0])
        return cls(len(array), float(np.median(array)), float(np.percentile(array, 95)), float(array.max()))


@dataclass
class Figures:
    """What one run found. Times in seconds unless named otherwise, memory in MB."""

    bench: str
    source: str
    studies: int
    images: int
    correct: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    versions: int = 0
    problems: list[str] = field(default_factory=list)
    received_per_s: float = 0.0
    received_mb_per_s: float = 0.0
    flood_s: float = 0.0
    engine_ms: Spread | None = None
    under_load_s: Spread | None = None
    alone_s: Spread | None = None
    processes: dict[str, dict[str, float]] = field(default_factory=dict)
    foreign_share: float = 0.0
    kills: dict[str, int] = field(default_factory=dict)
    resubmitted: int = 0
    wall_s: float = 0.0


def reception(node: Node, studies: Sequence[Study]) -> tuple[float, float]:
    """Return instances and megabytes received a second, from the first to the last instance of these studies."""
    wanted = {uid for study in studies for uid in study.sop_instance_uids}
    events = [event for event in node.events("instance.stored") if event["sop_instance"] in wanted]
    if len(events) < 2:
        return 0.0, 0.0
    moments = [moment(event) for event in events]
    span = max(moments) - min(moments)
    return (len(events) - 1) / span, sum(event["bytes"] for event in events[1:]) / span / 1e6


def delays(node: Node, studies: Sequence[Study]) -> list[float]:
    """Return, a study, the time from its last image in the node to its report in the PACS, quiet period left out."""
    quiet_s = float(node.settings["study"]["quiet_s"])
    last: dict[str, float] = defaultdict(float)
    for event in node.events("instance.stored"):
        last[event["study"]] = max(last[event["study"]], moment(event))
    done = {event["study"]: moment(event) for event in node.events("delivery.done")}
    uids = [study.study_instance_uid for study in studies]
    return [done[uid] - last[uid] - quiet_s for uid in uids if uid in done]


def engine_times(node: Node) -> Spread:
    """Return the spread of the engine's time an image, milliseconds."""
    return Spread.of(event["engine_ms"] for event in node.events("image.analysed") if event.get("engine_ms"))


def process_figures(usage: dict[str, Usage]) -> dict[str, dict[str, float]]:
    """Return CPU seconds and peak memory of each role."""
    return {
        role: {"cpu_s": round(used.cpu_s, 1), "peak_mb": round(used.peak_rss / 1e6, 1), "pids": len(used.cpu_by_pid)}
        for role, used in sorted(usage.items())
    }
