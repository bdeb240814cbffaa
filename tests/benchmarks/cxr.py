"""`scripts/bench cxr`: what CXR Foundation costs besides its network on one core, and FP16 rehearsed on radiographs."""

from __future__ import annotations

import importlib.util
import os
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from dicom_node.cli.main import main as dicom_node
from dicom_node.inference import cxr_preprocess, head
from dicom_node.inference.bundle import Head
from dicom_node.inference.evidence import evidence_map
from dicom_node.inference.preprocess import prepare
from tests.support.fracatlas import Pictures
from tests.support.legacy_resize import noise

ROWS, COLUMNS = 2500, 3000
PREPROCESSING_MS = 60.0
# Times OpenCV's own resize of the same image to the same size, by area, as it shrinks without aliasing.
PREPROCESSING_FACTOR = 3.0
RESIZES = {"linear": cv2.INTER_LINEAR, "area": cv2.INTER_AREA, "Lanczos": cv2.INTER_LANCZOS4}
# Grid cells a side of the head's grid, and what map and score may take together.
MAPS = {1: 1.0, 5: 8.0}


def run(images: int, console: Console) -> int:
    """Print all figures; 0: every bound was kept, 1: one was not."""
    cv2.setNumThreads(1)
    with threadpool_limits(1):
        kept = [_preprocessing(console), _maps(console)]
    kept.append(_rehearsal(images, console))
    return 0 if all(kept) else 1


def _milliseconds(work: Callable[[], object], times: int = 25) -> float:
    """Return the median of a call's CPU time: on one thread that is its time on a core of its own."""
    work()
    taken = []
    for _ in range(times):
        begun = time.thread_time()
        work()
        taken.append(time.thread_time() - begun)
    return statistics.median(taken) * 1e3


def _preprocessing(console: Console) -> bool:
    plane = cv2.GaussianBlur(noise(ROWS, COLUMNS), (0, 0), 2.0)
    size = (cxr_preprocess.SIDE, cxr_preprocess.SIDE)
    own = {name: _milliseconds(partial(cv2.resize, plane, size, interpolation=how)) for name, how in RESIZES.items()}
    factors = [f"x {name}" for name in RESIZES]
    table = Table("step", "ms", "bound", *factors, title=f"{ROWS} x {COLUMNS}, 16 bit, on one core")
    for name, taken in own.items():
        table.add_row(f"OpenCV to 1280, {name}", f"{taken:.1f}")
    steps = {"legacy resize alone": partial(cxr_preprocess.resize_legacy, plane)}
    steps |= {f"all of {name}": partial(prepare, name, plane) for name in cxr_preprocess.IDS}
    kept = True
    for name, work in steps.items():
        taken = _milliseconds(work)
        kept &= taken <= PREPROCESSING_MS and taken <= PREPROCESSING_FACTOR * own["area"]
        ratios = [f"{taken / reference:.1f}" for reference in own.values()]
        table.add_row(name, f"{taken:.1f}", f"<= {PREPROCESSING_MS:g}, {PREPROCESSING_FACTOR:g} x area", *ratios)
    console.print(table)
    console.print("OpenCV leaves uint16; all else ends in float32, the whole with min-max and the body's mask.")
    return kept


def _maps(console: Console) -> bool:
    random = np.random.default_rng(1)
    weights = Head(random.normal(0.0, 0.1, (8, 8, 1376)).astype(np.float32), 0.5, None, 0.0)
    table = Table("features", "map, ms", "score, ms", "bound", "most memory of its own", title="evidence map and score")
    kept = True
    for pool, bound in MAPS.items():
        features = random.normal(0.0, 1.0, (8 * pool, 8 * pool, 1376)).astype(np.float32)
        shown = _milliseconds(partial(evidence_map, features, weights, pool))
        scored = _milliseconds(partial(head.logit, features, weights, pool))
        kept &= shown + scored <= bound
        memory = f"{_peak(features, weights, pool) / 1e6:.2f} MB of {features.nbytes / 1e6:.1f}"
        side = 8 * pool
        table.add_row(f"{side} x {side} x 1376", f"{shown:.2f}", f"{scored:.2f}", f"<= {bound:g}", memory)
    console.print(table)
    return kept


def _peak(features: np.ndarray, weights: Head, pool: int) -> int:
    tracemalloc.start()
    evidence_map(features, weights, pool)
    head.logit(features, weights, pool)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most


def _rehearsal(images: int, console: Console) -> bool:
    """Import a miniature ELIXR-C in FP16 on radiographs; the command prints its table and fails beyond its bounds."""
    missing = [name for name in ("tensorflow", "tf2onnx", "sklearn") if importlib.util.find_spec(name) is None]
    if missing:
        console.print(f"FP16 was not rehearsed: {', '.join(missing)} is not installed (scripts/setup cxr)")
        return True
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from tests.support import elixr  # noqa: PLC0415 - needs TensorFlow
    from tests.support.published_probe import write_probe  # noqa: PLC0415 - as above

    with tempfile.TemporaryDirectory(prefix="dicom-node-bench-") as name:
        folder = Path(name)
        saved_model = elixr.write(folder / "elixr")
        probe = write_probe(folder / "probe.joblib", {})
        (folder / "images").mkdir()
        pictures = Pictures(seed=9)
        for number in range(images):
            cv2.imwrite(str(folder / "images" / f"{number:03d}.png"), pictures[number].grey)
        source = "FracAtlas radiographs" if pictures.are_real else "drawn phantoms"
        console.print(f"a miniature network with the real one's input, output and operations, {images} {source}:")
        words = ["--saved-model", saved_model, "--probe", probe.path, "--sha256", probe.sha256, "--precision", "fp16"]
        words += ["--images", folder / "images", "--count", images, "--out", folder / "bundle"]
        return dicom_node(["engine", "import-cxr", *map(str, words)]) == 0
