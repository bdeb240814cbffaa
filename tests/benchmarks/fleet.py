"""A simulated fleet: a Monday of a hospital or region against a real node, faster than it happens, and on paper.

The arrival model, its sources and what came of it: docs/capacity.md, whose figures --page renews. A replay at speed N
is the load of N such sites: the node's quiet period and longest open time are divided by N, its own times are not.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from tests.benchmarks import fleet_beyond, fleet_page, fleet_pictures
from tests.benchmarks.fleet_arrivals import HOUR_S, SITES, Send, after_outage, between, day, with_casualties
from tests.benchmarks.fleet_figures import Counts, Percentiles, Seen, counted, mean, seen, service_table
from tests.benchmarks.fleet_paper import Paper, ages, busy_share
from tests.benchmarks.fleet_replay import Pace, Replay, replay
from tests.support.system import BUNDLE

BINS = 60  # of the timeline
DEFAULTS = {"hospital": (48.0, "08:30-12:00"), "region": (5.0, "10:00-10:25")}  # less than five minutes of sending


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's options."""
    parser.add_argument("--site", choices=list(SITES), default="hospital", help="1,000 beds, or ten such hospitals")
    parser.add_argument(
        "--speed", type=float, help="times faster than real (default 48 for a hospital, 5 for a region)"
    )
    parser.add_argument("--hours", help="of the Monday (default 08:30-12:00; 10:00-10:25 for a region)")
    parser.add_argument("--event", choices=["none", "outage", "casualties"], default="none", help="a burst in it")
    parser.add_argument("--bundle", type=Path, default=BUNDLE, help="folder of the model bundle")
    parser.add_argument("--output", type=Path, help="write the figures to this JSON file, and a picture beside it")
    parser.add_argument("--page", action="store_true", help="renew this site's figures in docs/capacity.md")
    parser.add_argument("--keep", action="store_true", help="keep the working folder")


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Run it; 0: everything sent was answered in the PACS, 1: something was lost."""
    speed, hours = DEFAULTS[arguments.site]
    plan = Plan(
        arguments.site, arguments.speed or speed, *_hours(arguments.hours or hours), arguments.event, arguments.seed
    )
    folder = Path(tempfile.mkdtemp(prefix="dicom-node-fleet-"))
    try:
        done = replay(folder, arguments.bundle, plan.sends(), arguments.seed, plan.pace(), Console(stderr=True))
        figures = _figures(plan, done, console)
    finally:
        if arguments.keep:
            console.print(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    _print(figures, console)
    if arguments.output:
        arguments.output.write_text(json.dumps(figures, indent=1))
        fleet_pictures.draw_run(figures, arguments.output.with_suffix(".png"))
    if arguments.page:
        fleet_page.renew(figures)
    counts = figures["counts"]
    return 1 if counts["lost"] or counts["unanswered"] or figures["unfinished"] else 0


@dataclass(frozen=True)
class Plan:
    """What is replayed, and how fast."""

    site: str
    speed: float
    start_h: float
    end_h: float
    event: str
    seed: int

    def sends(self) -> list[Send]:
        """Return what is sent in the window."""
        sends = day(SITES[self.site], self.seed)
        if self.event == "casualties":
            sends = with_casualties(sends, self.seed)
        elif self.event == "outage":
            sends = after_outage(sends)
        return between(sends, self.start_h, self.end_h)

    def pace(self) -> Pace:
        """Return the pace of the replay."""
        return Pace(self.start_h * HOUR_S, self.speed)


def _hours(text: str) -> tuple[float, float]:
    start, end = (int(hour) + int(minute) / 60 for hour, minute in (part.split(":") for part in text.split("-")))
    return start, end


def _figures(plan: Plan, done: Replay, console: Console) -> dict[str, Any]:
    pace, counts = plan.pace(), counted(done)
    log = seen(done, pace)
    scaled = (pace.quiet_s / pace.speed, pace.max_wait_s / pace.speed)
    faster = [replace(send, at_s=(send.at_s - pace.begin_s) / pace.speed) for send in plan.sends()]
    assert log.service is not None
    paper = Paper(log.service, *scaled, seed=plan.seed).run(faster)
    limits = _limits(counts, log, done)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("on paper", total=len(fleet_beyond.LOADS) + 1)
        usual = (pace.quiet_s, pace.max_wait_s)
        loads = fleet_beyond.curve(
            log.service, limits.worker_studies_h, usual, plan.seed, lambda: progress.advance(task)
        )
        bursts = fleet_beyond.bursts(log.service, usual, plan.seed)
    limits = replace(
        limits,
        twice_studies_h=fleet_beyond.crossing(loads, 2.0 * loads[0].turnaround.p95),
        five_minutes_studies_h=fleet_beyond.crossing(loads, fleet_beyond.FIVE_MINUTES_S),
    )
    return {
        "plan": asdict(plan) | {"quiet_s": scaled[0], "wall_s": done.ended_at - done.started_at},
        "machine": _machine(done),
        "counts": asdict(counts),
        "unfinished": done.unfinished,
        "turnaround_s": asdict(Percentiles.of(log.outcome.turnaround_s)),
        "paper_turnaround_s": asdict(Percentiles.of(paper.turnaround_s)),
        "service": service_table(log.service),
        "needs": _needs(counts, log, plan.seed),
        "limits": asdict(limits),
        "timeline": _timeline(plan, done, log),
        "processes": _processes(done),
        "loads": [asdict(load) for load in loads],
        "bursts": [asdict(burst) for burst in bursts],
    }


def _limits(counts: Counts, log: Seen, done: Replay) -> fleet_beyond.Limits:
    """Return where the worker, the cores and one association end, were each of them alone."""
    assert log.service is not None
    worker_s = sum(end - start for start, end in log.outcome.work) / counts.studies
    cpu_s = sum(used["cpu_s"] for used in _processes(done).values()) / counts.studies
    images, megabytes = len(done.sent) / counts.studies, 1e3 * counts.gigabytes / counts.studies
    receive_s = images * log.service.receive_s + megabytes * log.service.receive_s_per_mb
    cores = psutil.cpu_count() or 1
    return fleet_beyond.Limits(
        worker_s,
        HOUR_S / worker_s,
        cpu_s,
        cores * HOUR_S / cpu_s,
        megabytes / receive_s,
        HOUR_S / receive_s,
        None,
        None,
    )


def _needs(counts: Counts, log: Seen, seed: int) -> dict[str, float]:
    """Return the mean times a study, and what another machine's image may take for each site's busiest hour."""
    assert log.service is not None
    analysed = sum(end - start for start, end in log.outcome.work)
    compose_s = mean([s for samples in log.service.compose.values() for s in samples])
    views = counts.radiographs / counts.studies
    found = {
        "views_a_study": views,
        "model_views_a_study": counts.analysed / counts.studies,
        "compose_s": compose_s,
        "analyse_s": (analysed - compose_s * counts.versions) / counts.radiographs,
        "versions_a_study": counts.versions / counts.studies,
    }
    for site in SITES.values():
        hours = np.bincount([int(s.at_s // HOUR_S) for s in day(site, seed) if s.images[0].number == 0 and not s.again])
        found[f"{site.name}_peak_studies_h"] = float(hours.max())
    return found


def _machine(done: Replay) -> dict[str, Any]:
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    names = [line.split(":", 1)[1].strip() for line in info.splitlines() if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "load_average_before": done.load_average[0],
        "load_average_after": done.load_average[1],
        "benchmark_share": done.own_cpu_s / (done.ended_at - done.started_at) / (psutil.cpu_count() or 1),
        "other_work_share": done.recorder.foreign_share,
    }


def _processes(done: Replay) -> dict[str, dict[str, float]]:
    """Return CPU seconds from the first send on, and peak memory, of each role."""
    line = done.recorder.timeline
    first = next((n for n, moment in enumerate(line.moments) if moment >= done.started_at), 0)
    begun = line.cpu_s[first] if line.cpu_s else {}
    return {
        role: {"cpu_s": used.cpu_s - begun.get(role, 0.0), "peak_mb": used.peak_rss / 1e6}
        for role, used in sorted(done.recorder.usage.items())
    }


def _timeline(plan: Plan, done: Replay, log: Seen) -> dict[str, list[float]]:
    """Return arrivals, the queue's age and how busy worker and cores were, bin by bin; hours of the day."""
    edges = list(np.linspace(done.started_at, done.ended_at, BINS + 1))
    firsts = [s.due_at for s in done.sent if s.image.number == 0 and not s.again]
    moments, line = done.recorder.timeline.moments, done.recorder.timeline.cpu_s
    found: dict[str, list[float]] = {
        "hour": [plan.start_h + (edge - done.started_at) * plan.speed / HOUR_S for edge in edges[:-1]],
        "studies": [float(n) for n in np.histogram(firsts, edges)[0]],
        "age_s": ages(log.outcome.waits, edges[1:]),
        "worker_busy": busy_share(log.outcome.work, edges),
    }
    width, cores = edges[1] - edges[0], psutil.cpu_count() or 1
    for role in ("node", "worker", "worker-helper"):
        used = np.interp(edges, moments, [cpu.get(role, 0.0) for cpu in line])
        found[f"{role}_cores"] = [float(share) for share in np.diff(used) / width / cores]
    return found


def _print(figures: dict[str, Any], console: Console) -> None:
    counts, plan = figures["counts"], figures["plan"]
    console.print(f"[bold]{plan['site']}[/bold], {plan['start_h']:g} to {plan['end_h']:g} h at speed {plan['speed']:g}")
    for key in ("studies", "images", "radiographs", "versions", "acknowledged", "retried", "lost", "unanswered"):
        console.print(f"  {key}: {counts[key]}")
    table = Table("last image to report in the PACS, less the quiet period", "n", "p50", "p95", "p99", "longest")
    for name, key in (("seen", "turnaround_s"), ("on paper", "paper_turnaround_s")):
        found = figures[key]
        cells = (f"{found[q]:.2f} s" for q in ("p50", "p95", "p99", "longest"))
        table.add_row(name, str(found["samples"]), *cells)
    console.print(table)
    limits = figures["limits"]
    for key, value in limits.items():
        console.print(f"  {key}: {'never in the range' if value is None else f'{value:,.2f}'}")
    console.print(f"  other work on this machine meanwhile: {figures['machine']['other_work_share']:.0%} of its cores")
