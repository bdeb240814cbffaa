"""What `lab head`'s fit costs in time and memory, in a process of its own, beside scikit-learn's plain pipeline."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dicom_node.lab import probe

if TYPE_CHECKING:
    from typing_extensions import Self

OURS, NAIVE = "lab head", "scikit-learn pipeline"
_SAMPLES_S = 0.02
_ASKED = 32
_CHUNK = 64


@dataclass(frozen=True)
class Fit:
    """One fit. Memory in bytes; private: what is not pages of the features' own file; z: scores of the first rows."""

    way: str
    rows: int
    width: int
    seconds: float
    peak_rss: int
    peak_private: int
    before: int
    z: list[float]

    @property
    def table(self) -> int:
        """Bytes of the features as float32."""
        return self.rows * self.width * 4


def make(path: Path, rows: int, width: int, seed: int) -> None:
    """Write features.npy (float32 [rows, width]) and labels.npy: a few directions tell the classes apart, noisily."""
    random = np.random.default_rng(seed)
    features = np.lib.format.open_memmap(path / "features.npy", "w+", np.dtype(np.float32), (rows, width))
    labels = random.random(rows) < 0.2
    direction = random.normal(0, 1, width).astype(np.float32)
    scale = random.uniform(0.2, 2.0, width).astype(np.float32)
    for start in range(0, rows, _CHUNK):
        part = slice(start, min(start + _CHUNK, rows))
        noise = random.standard_normal((part.stop - start, width), dtype=np.float32)
        features[part] = (noise + 0.01 * direction * labels[part, None]) * scale + 0.5
    features.flush()
    np.save(path / "labels.npy", labels)


def measure(folder: Path, way: str, rows: int) -> Fit:
    """Fit the first rows in a fresh process and return what it cost."""
    command = [sys.executable, "-m", "tests.benchmarks.lab_head", str(folder), way, str(rows)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return Fit(**json.loads(done.stdout.splitlines()[-1]))


def _status(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    return 0


class _Peak:
    """The largest private memory (RssAnon) while it is entered."""

    def __init__(self) -> None:
        self.bytes = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self._over.wait(_SAMPLES_S):
            self.bytes = max(self.bytes, _status("RssAnon"))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.bytes = max(self.bytes, _status("RssAnon"))  # a fit may end before the first look


def _ours(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    fitted = probe.fit(features, np.arange(len(labels)), labels, probe.Settings())
    return probe.fold(fitted.linear).logits(features[:_ASKED])


def _naive(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    # The same penalty, weights and stopping rule; everything else as it comes.
    regression = LogisticRegression(class_weight="balanced", max_iter=5000, tol=1e-6)
    model = make_pipeline(StandardScaler(), regression)
    return np.asarray(model.fit(features, labels).decision_function(features[:_ASKED]))


def main() -> None:
    """Fit as told and print the figures as one line of JSON."""
    folder, way, rows = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    features = np.load(folder / "features.npy", mmap_mode="r")[:rows]
    labels = np.load(folder / "labels.npy")[:rows]
    before = _status("RssAnon")
    started = time.monotonic()
    with _Peak() as peak:
        z = {OURS: _ours, NAIVE: _naive}[way](features, labels)
    seconds = time.monotonic() - started
    figures = {"way": way, "rows": rows, "width": features.shape[1], "seconds": seconds, "before": before}
    figures |= {"peak_rss": _status("VmHWM"), "peak_private": peak.bytes, "z": z.tolist()}
    print(json.dumps(figures))  # noqa: T201 - read by the process that started this one


if __name__ == "__main__":
    main()
