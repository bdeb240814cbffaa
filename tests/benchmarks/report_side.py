"""One side of `scripts/bench report`, in a process of its own: composes a result and prints what it took as JSON."""

from __future__ import annotations

import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicom_node.core.findings import Localisation, Outcome, Region, ViewFinding

TIMES = 4
STUDY = "2.25.3402873640"
_CLOSED_AT = 1_790_000_000.0
_DX = "1.2.840.10008.5.1.4.1.1.1.1"


def main() -> int:
    """Run the side that the first argument names on the state folder in the second."""
    side, folder = sys.argv[1], Path(sys.argv[2])
    cv2.setNumThreads(1)
    sizes, compose = (_ours if side == "ours" else _naive)(folder)
    walls, cpus = [], []
    for number in range(TIMES):
        wall, cpu = time.perf_counter(), time.process_time()
        compose(number + 1)
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    figures = {
        "first_cpu_s": cpus[0],
        "cpu_s": statistics.median(cpus[1:]),
        "wall_s": statistics.median(walls[1:]),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        **sizes(),
    }
    sys.stdout.write(f"{json.dumps(figures)}\n")
    return 0


def region_of(rows: int, columns: int) -> Region:
    """Return an octagon in the middle of an image."""
    angles = np.linspace(0.0, 2.0 * np.pi, 9)
    return Region(
        tuple((float(columns * (0.5 + 0.1 * np.cos(at))), float(rows * (0.5 + 0.1 * np.sin(at)))) for at in angles)
    )


def _positive(finding: ViewFinding, region: Region) -> ViewFinding:
    """Return the view as a positive with a region: the costliest result, whatever the model says of the picture."""
    where = Localisation(0.4, 0.08, 0.02, (100.0, 100.0), on_border=False, trusted=True)
    return replace(
        finding, outcome=Outcome.POSITIVE, reason=None, probability=0.87, localisation=where, regions=(region,)
    )


def _ours(folder: Path) -> tuple[Callable[[], dict[str, float]], Callable[[int], None]]:
    """The worker's own bench: three images are analysed first, model and maps included, then the study is composed."""
    from dicom_node.ledger.spool import StateFolders  # noqa: PLC0415 - the other side must not pay for it
    from dicom_node.services.messages import AnalyseJob, ComposeJob, Image, ViewToCompose  # noqa: PLC0415
    from dicom_node.services.model import load_model  # noqa: PLC0415
    from dicom_node.services.workbench import Workbench  # noqa: PLC0415
    from dicom_node.settings import AnalysisSettings, NodeSettings, Settings  # noqa: PLC0415
    from tests.support.system import BUNDLE  # noqa: PLC0415

    settings = Settings(
        node=NodeSettings(state_dir=folder), analysis=AnalysisSettings(bundle=BUNDLE, runtime="onnxruntime")
    )
    bench = Workbench(settings, load_model(settings.analysis, folder / "strikes"))
    folders, views = StateFolders(folder), []
    for path in sorted(folders.instances.glob("*.dcm")):
        header = dcmread(path, stop_before_pixels=True)
        uid, kept = str(header.SOPInstanceUID), f"analysis-{os.getpid()}-{path.stem}"
        finding = bench.analyse(AnalyseJob(Image(uid, _DX, STUDY, "DX", path.stem), kept)).finding
        region = region_of(int(header.Rows), int(header.Columns))
        views.append(ViewToCompose(_DX, uid, path.stem, _positive(finding, region), kept))
    bench.close()
    last: list[Path] = []

    def compose(version: int) -> None:
        name = f"result-{os.getpid()}-{version}"
        bench.compose(ComposeJob(STUDY, version, _CLOSED_AT, tuple(views), (), name))
        last[:] = [folder / name]

    return lambda: _sizes(last[0]), compose


def _naive(folder: Path) -> tuple[Callable[[], dict[str, float]], Callable[[int], None]]:
    """highdicom as its examples use it: heat blended in numpy at full size, uncompressed, one object after another."""
    from tests.benchmarks.report_naive import compose as naive  # noqa: PLC0415 - as above

    sources = [dcmread(path) for path in sorted((folder / "instances").glob("*.dcm"))]
    last: list[Path] = []

    def compose(version: int) -> None:
        last[:] = [folder / f"naive-{os.getpid()}-{version}"]
        last[0].mkdir()
        for number, dataset in enumerate(naive(sources), start=1):
            dataset.save_as(last[0] / f"{number:03d}.dcm")

    return lambda: _sizes(last[0]), compose


def _sizes(folder: Path) -> dict[str, float]:
    """Return the largest page as a destination that accepts everything gets it, and all that it gets, in MB."""
    best: dict[str, int] = {}
    pages = []
    for path in sorted(folder.glob("*.dcm")):
        dataset = dcmread(path, stop_before_pixels=True)
        # Pages that differ in their syntax share a UID; of the report's classes it gets the first.
        slot = "SR" if dataset.Modality == "SR" else str(dataset.SOPInstanceUID)
        if slot not in best:
            best[slot] = path.stat().st_size
            pages += [best[slot]] if dataset.Modality == "OT" else []
    return {"largest_page_mb": max(pages) / 1e6, "all_mb": sum(best.values()) / 1e6}


def stored(source: Dataset) -> NDArray[np.float64]:
    """Return an image's stored values as a share of their range."""
    return np.asarray(source.pixel_array / float((1 << source.BitsStored) - 1))


if __name__ == "__main__":
    sys.exit(main())
