"""Studies through Orthanc and back, as fast as it forwards; then some alone, for the time one study takes."""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console
from rich.progress import track

from tests.benchmarks.checking import check
from tests.benchmarks.figures import Figures, Spread, delays, engine_times, process_figures, reception
from tests.benchmarks.flood import flood
from tests.benchmarks.workload import Workload
from tests.support.orthanc import Forward
from tests.support.system import System
from tests.support.usage import Watch

QUIET_S = 5.0  # longer than Orthanc ever pauses within a study here, so that each study has one version
SINGLE_QUIET_LIMIT_S = 60.0


def run(folder: Path, workload: Workload, limit_s: float, console: Console) -> Figures:
    """Run it and return what was found."""
    images = sum(len(study.files) for study in workload.studies)
    figures = Figures("end-to-end", workload.source, len(workload.studies), images)
    with System(folder, workload.bundle, Forward.SEND, quiet_s=QUIET_S) as system:
        started = time.monotonic()
        with Watch(system.node, {"Orthanc": system.pacs.pid}) as watch:
            flood(system, workload.studies, started + limit_s, console)
        figures.flood_s = time.monotonic() - started
        figures.processes, figures.foreign_share = process_figures(watch.usage), watch.foreign_share
        figures.received_per_s, figures.received_mb_per_s = reception(system.node, workload.studies)
        figures.under_load_s = Spread.of(delays(system.node, workload.studies))
        for study in track(
            workload.singles, "one at a time", console=console, transient=True, disable=not console.is_terminal
        ):
            system.upload(study)
            system.wait_result(study, limit_s=SINGLE_QUIET_LIMIT_S)
        figures.alone_s = Spread.of(delays(system.node, workload.singles))
        figures.engine_ms = engine_times(system.node)
        check(system, workload, workload.studies, figures, console)
        if figures.versions != len(workload.studies):
            figures.problems.append(f"{figures.versions} versions of {len(workload.studies)} studies")
    return figures
