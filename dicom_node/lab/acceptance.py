"""The acceptance test of an exported bundle: as the node runs it, it answers as what was fitted does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from dicom_node.core.findings import Outcome
from dicom_node.core.intended_use import attributes_within
from dicom_node.core.localisation import measure
from dicom_node.core.radiograph import Radiograph
from dicom_node.inference.onnx_embedder import OnnxEmbedder
from dicom_node.inference.pipeline import Pipeline
from dicom_node.lab.progress import track
from dicom_node.lab.runs import LabError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from dicom_node.core.localisation import MapMeasures
    from dicom_node.inference.bundle import Bundle
    from dicom_node.inference.embedder import Embedder
    from dicom_node.inference.pipeline import Analysis

    Read = Callable[[Path], NDArray[np.uint16] | None]

IMAGES: Final = 64
DIFFERENCE: Final = 1e-3
_UID: Final = "1.2.826.0.1.3680043.8.498.1"
_KEPT: Final = 0.95


@dataclass(frozen=True, slots=True)
class Trial:
    """An image to try the bundle on."""

    path: Path
    fractured: bool


@dataclass(frozen=True, slots=True)
class Heard:
    """What the embedder was given, float32 [1, 1, rows, columns], and what it returned [rows, columns, channels]."""

    tensor: NDArray[np.float32]
    features: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What was tried. bounds: the gate's bounds on a map that keep nearly all maps of the fractured images tried."""

    images: int
    skipped: int
    largest_logit_difference: float
    bounds: dict[str, float]


class _Listening:
    """An embedder that keeps what passed last, so that what was fitted can be asked about the very same."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self.last: Heard | None = None

    @property
    def runtime(self) -> str:
        return self._embedder.runtime

    def embed(self, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        features = self._embedder.embed(tensor)
        self.last = Heard(tensor, features)
        return features

    def close(self) -> None:
        self._embedder.close()


def accept(
    bundle: Bundle, trials: Sequence[Trial], read: Read, wanted: Callable[[Trial, Heard], float], whose: str
) -> Acceptance:
    """Score images through the serving pipeline.

    wanted: says the logit of an image from what the embedder heard; whose: whose logit that is, for the error. Raises
    LabError where a logit differs, a map does not add up to it, or nothing could be tried.
    """
    embedder = _Listening(OnnxEmbedder(bundle))
    pipeline = Pipeline(bundle, embedder)
    attributes = attributes_within(bundle.intended_use)
    differences, maps, skipped = [], [], 0
    try:
        for trial in track(trials, "acceptance, images"):
            grey = read(trial.path)
            found = None if grey is None else pipeline.analyse(_UID, attributes, Radiograph(grey))
            if found is None or not _answered(found, trial) or embedder.last is None:
                skipped += 1
                continue
            z = found.finding.logit
            differences.append(abs((float("nan") if z is None else z) - wanted(trial, embedder.last)))
            if trial.fractured and found.shown_map is not None:
                maps.append(measure(found.shown_map.values, found.shown_map.body, bundle.gate.alpha))
    finally:
        embedder.close()
    if not differences:
        message = (
            f"none of the {skipped} images could be tried: they cannot be read, or are too small or flat; give others"
        )
        raise LabError(message)
    largest = float(np.max(differences))  # NaN where any of them is
    if not largest <= DIFFERENCE:
        message = (
            f"the bundle does not answer as the {whose} does: over {len(differences)} images the logits differ by up "
            f"to {largest:g}, allowed is {DIFFERENCE:g}; nothing was written"
        )
        raise LabError(message)
    return Acceptance(len(differences), skipped, largest, _bounds(maps))


def _answered(found: Analysis, trial: Trial) -> bool:
    reason = found.finding.reason
    if found.finding.outcome is not Outcome.NOT_ANALYSED or reason is None:
        return True
    if reason.blames_model:  # an image that is too small or flat is no fault of the bundle
        message = f"the bundle fails on {trial.path.name}: {reason.text}; nothing was written"
        raise LabError(message)
    return False


def chosen(trials: Sequence[Trial]) -> list[Trial]:
    """Return up to IMAGES images: half fractured, where there are as many, evenly spread over the list."""
    fractured = [one for one in trials if one.fractured]
    others = [one for one in trials if not one.fractured]
    return [*_spread(fractured, IMAGES // 2), *_spread(others, IMAGES - min(len(fractured), IMAGES // 2))]


def _spread(trials: list[Trial], count: int) -> list[Trial]:
    if len(trials) <= count:
        return trials
    return [trials[int(place)] for place in np.linspace(0, len(trials) - 1, count)]


def _bounds(maps: list[MapMeasures]) -> dict[str, float]:
    found = [one for one in maps if one.complete]
    if not found:
        return {}
    return {
        "entropy_max": _bound([one.entropy for one in found]),
        "area_max": _bound([one.area for one in found]),
        "out_of_body_max": max(0.1, _bound([one.out_of_body for one in found])),
    }


def _bound(values: list[float]) -> float:
    return float(min(1.0, max(0.02, np.ceil(np.quantile(np.array(values), _KEPT) * 1000) / 1000)))
