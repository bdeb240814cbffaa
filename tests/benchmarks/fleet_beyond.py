"""How far one machine goes, on paper: whole Mondays of ever more hospitals, and bursts."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tests.benchmarks.fleet_arrivals import HOUR_S, SITES, Send, Site, after_outage, day, with_casualties
from tests.benchmarks.fleet_figures import Percentiles
from tests.benchmarks.fleet_paper import Outcome, Paper, Service, ages, busy_share

WINDOW_H = (8.0, 18.0)  # of which the queue's age is the 95th percentile, minute by minute
LOADS = (0.02, 0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.4)  # of what the worker can do, in the busiest hour
FIVE_MINUTES_S = 300.0
USED = 0.7  # of the worker, in the busiest hour: the share that a plan leaves for bursts


@dataclass(frozen=True)
class Load:
    """A Monday on paper."""

    hospitals: float
    studies: int
    peak_studies_h: int
    busiest_hour: float
    age_p95_s: float
    age_longest_s: float
    turnaround: Percentiles


@dataclass(frozen=True)
class Limits:
    """Where one machine ends, in studies an hour, and what bounds it there."""

    worker_s_a_study: float
    worker_studies_h: float
    cpu_s_a_study: float
    cpu_studies_h: float
    receive_mb_s: float
    receive_studies_h: float
    twice_studies_h: float | None
    five_minutes_studies_h: float | None


@dataclass(frozen=True)
class Burst:
    """What a burst does on paper: the longest wait, and how long until nothing waits for more than a minute."""

    site: str
    name: str
    studies: int
    age_longest_s: float
    over_after_s: float
    turnaround: Percentiles


def monday(service: Service, hospitals: float, quiet: tuple[float, float], seed: int) -> Load:
    """Simulate a Monday of so many hospitals at its own speed."""
    return _load(day(Site("paper", hospitals), seed), service, hospitals, quiet)


def _load(sends: list[Send], service: Service, hospitals: float, quiet: tuple[float, float]) -> Load:
    outcome = Paper(service, *quiet).run(sends)
    ended_h = [int(send.at_s // HOUR_S) for send in sends if send.images[0].number == 0 and not send.again]
    window = _ages(outcome, *WINDOW_H)
    busiest = max(busy_share(outcome.work, [h * HOUR_S for h in range(25)]))
    return Load(
        hospitals,
        len(ended_h),
        max(Counter(ended_h).values(), default=0),
        busiest,
        float(np.percentile(window, 95)),
        max(window),
        Percentiles.of(outcome.turnaround_s),
    )


def _ages(outcome: Outcome, start_h: float, end_h: float, step_s: float = 10.0) -> list[float]:
    return ages(outcome.waits, list(np.arange(start_h * HOUR_S, end_h * HOUR_S, step_s)))


def curve(
    service: Service, studies_h: float, quiet: tuple[float, float], seed: int, advance: Callable[[], None]
) -> list[Load]:
    """Simulate Mondays at the loads; studies_h: what the worker can do."""
    peak = max(np.bincount([int(s.at_s // HOUR_S) for s in day(SITES["region"], seed) if s.images[0].number == 0]))
    found = []
    for load in LOADS:
        found.append(monday(service, SITES["region"].hospitals * load * studies_h / float(peak), quiet, seed))
        advance()
    return found


def crossing(loads: Sequence[Load], limit_s: float) -> float | None:
    """Return the studies in the busiest hour at which the p95 turnaround reaches a limit; None where it never does."""
    for before, after in itertools.pairwise(loads):
        low, high = before.turnaround.p95, after.turnaround.p95
        if low < limit_s <= high:
            share = np.log(limit_s / low) / np.log(high / low)
            return float(before.peak_studies_h + share * (after.peak_studies_h - before.peak_studies_h))
    return None


def bursts(service: Service, quiet: tuple[float, float], seed: int) -> list[Burst]:
    """Simulate a backlog after an outage, and a mass casualty, for both sites."""
    found = []
    for site in SITES.values():
        usual = day(site, seed)
        for name, sends in (
            ("PACS back after two hours", after_outage(usual)),
            ("mass casualty", with_casualties(usual, seed)),
        ):
            outcome = Paper(service, *quiet).run(sends)
            start_h = 11.0 if name.startswith("PACS") else 10.0
            seen = _ages(outcome, start_h, 24.0)
            over = max((n for n, age in enumerate(seen) if age > 60.0), default=0) * 10.0
            studies = sum(send.images[0].number == 0 and not send.again for send in sends)
            found.append(Burst(site.name, name, studies, max(seen), over, Percentiles.of(outcome.turnaround_s)))
    return found
