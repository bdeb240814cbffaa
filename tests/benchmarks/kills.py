"""The same flood while node, worker and supervisor are killed at random moments."""

from __future__ import annotations

import random
import time
from pathlib import Path

from rich.console import Console

from tests.benchmarks.checking import check
from tests.benchmarks.figures import Figures, Spread, delays, engine_times, process_figures, reception
from tests.benchmarks.flood import flood
from tests.benchmarks.workload import Workload
from tests.support.killing import Killer
from tests.support.orthanc import Forward
from tests.support.system import System
from tests.support.usage import Watch

QUIET_S = 10.0  # an image that the PACS must send again should still find its study open; where not: a version 2
EVERY_S = (1.0, 5.0)
CRASH_LIMIT = 50  # the limit is for images that kill the worker; here it is the benchmark that does


def run(folder: Path, workload: Workload, kills: int, seed: int, limit_s: float, console: Console) -> Figures:
    """Run it and return what was found."""
    images = sum(len(study.files) for study in workload.studies)
    figures = Figures("survive-kills", workload.source, len(workload.studies), images)
    limits = {"crash_limit": CRASH_LIMIT}
    with System(folder, workload.bundle, Forward.JOBS, quiet_s=QUIET_S, analysis=limits) as system:

        def resubmit() -> None:
            figures.resubmitted += system.pacs.resubmit_failed()

        started = time.monotonic()
        end = started + limit_s
        with Watch(system.node, {"Orthanc": system.pacs.pid}) as watch:
            with Killer(system.node, random.Random(seed), EVERY_S, most=kills) as killer:  # noqa: S311 - moments, not secrets
                flood(system, workload.studies, end, console, also=resubmit)
                during = killer.total
                killer.at_least(kills, max(end - time.monotonic(), 1.0))
            _settle(system, end, resubmit)
        figures.flood_s = time.monotonic() - started
        figures.kills = dict(killer.killed)
        figures.kills["while studies were in work"] = during
        figures.processes, figures.foreign_share = process_figures(watch.usage), watch.foreign_share
        figures.received_per_s, figures.received_mb_per_s = reception(system.node, workload.studies)
        figures.under_load_s = Spread.of(delays(system.node, workload.studies))
        figures.engine_ms = engine_times(system.node)
        check(system, workload, workload.studies, figures, console)
    return figures


def _settle(system: System, end: float, resubmit: object) -> None:
    """Let the PACS finish its forwarding and the node its studies, late versions included."""
    while time.monotonic() < end:
        assert callable(resubmit)
        resubmit()
        if not system.pacs.is_forwarding():
            break
        time.sleep(1)
    system.settle(limit_s=max(end - time.monotonic(), 30.0))
