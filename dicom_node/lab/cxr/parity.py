"""How closely a bundle made from the SavedModel follows it, image by image, as the node would run it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnxruntime

from dicom_node.core.decision import decide_view
from dicom_node.core.findings import Outcome
from dicom_node.core.localisation import measure
from dicom_node.inference import cxr_preprocess, head
from dicom_node.inference.evidence import evidence_map
from dicom_node.inference.preprocess import prepare
from dicom_node.lab.cxr.onnx_export import FEATURES, FP16_MAX, IMAGE, LARGEST
from dicom_node.lab.runs import LabError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from dicom_node.inference.bundle import Bundle
    from dicom_node.inference.preprocess import Prepared
    from dicom_node.lab.cxr.saved_model import SavedModel
    from dicom_node.lab.probe import LinearProbe

    Embed = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is accepted: the least cosine of the features, the largest differences of z and p, and two least shares."""

    cosine: float
    logit: float
    probability: float
    peaks: float = 0.98
    outcomes: float = 0.995


PEAK_TIE: Final = 0.01

#: FP16 as for an engine on a device; float32 differs by the order of summation alone.
BOUNDS: Final = {"fp32": Bounds(0.99999, 0.01, 0.0025), "fp16": Bounds(0.999, 0.05, 0.01)}


@dataclass(frozen=True, slots=True)
class Said:
    """What a model says of an image: features [rows, columns, channels], z, p, the map on the body and the outcome."""

    features: NDArray[np.float32]
    z: float
    p: float
    shown: NDArray[np.float32]
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Difference:
    """How far two models are apart on one image."""

    cosine: float
    logit: float
    probability: float
    same_peak: bool
    peak_agrees: bool
    same_outcome: bool
    outcome_agrees: bool


@dataclass(frozen=True, slots=True)
class Parity:
    """The comparison over all images; the last four are shares of them.

    same_peaks: the peak lies in the same cell. peaks: in the same one, or in one that by the reference's own map is as
    strong to within PEAK_TIE of the peak: two cells so close are a tie that rounding may turn over. outcomes: the same
    one, or positive and inconclusive where such a tie moved the peak onto the border or off it; a negative is no tie.
    """

    images: int
    cosine: float
    logit: float
    probability: float
    same_peaks: float
    peaks: float
    same_outcomes: float
    outcomes: float

    def broken(self, bounds: Bounds) -> list[str]:
        """Return what lies beyond the bounds, in words; NaN is beyond any."""
        pairs = [
            ("cosine of the features", self.cosine, bounds.cosine, self.cosine >= bounds.cosine),
            ("difference of the logit", self.logit, bounds.logit, self.logit <= bounds.logit),
            ("difference of p", self.probability, bounds.probability, self.probability <= bounds.probability),
            ("agreeing peaks", self.peaks, bounds.peaks, self.peaks >= bounds.peaks),
            ("agreeing outcomes", self.outcomes, bounds.outcomes, self.outcomes >= bounds.outcomes),
        ]
        return [f"{what} {found:.6g} (bound {bound:g})" for what, found, bound, kept in pairs if not kept]


@dataclass(frozen=True, slots=True)
class Range:
    """The largest magnitude that a result of the network reaches (or the first overflow), which, and on what image."""

    largest: float
    result: str
    image: str

    @property
    def overflows(self) -> bool:
        """Whether FP16 cannot hold it."""
        return not self.largest <= FP16_MAX


class Rehearsal:
    """An FP16 network run with its roundings (`onnx_export.rehearsal`); remembers the largest magnitude met.

    image: what to call the image that comes next.
    """

    def __init__(self, path: Path, results: tuple[str, ...], threads: int) -> None:
        self._session = session(path, threads)
        self._results = results
        self.range = Range(0.0, "", "")
        self.image = ""

    def embed(self, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the features, float32 [rows, columns, channels], of an input float32 [1, 1, 1280, 1280]."""
        features, largest = self._session.run([FEATURES, LARGEST], {IMAGE: tensor})
        # Where something overflows, what comes after it is infinite too: the first in the network's order is told.
        beyond = ~(largest <= FP16_MAX)
        place = int(np.argmax(beyond if beyond.any() else largest))
        if not self.range.overflows and not float(largest[place]) <= self.range.largest:
            self.range = Range(float(largest[place]), self._results[place], self.image)
        return np.asarray(features[0], dtype=np.float32)


def session(path: Path, threads: int) -> Any:
    """Return a network on ONNX Runtime, on the processor."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def reference(model: SavedModel, probe: LinearProbe, bundle: Bundle, grey: NDArray[np.uint16]) -> Said:
    """Return what SavedModel and probe say of an image, as its client sends it: unfolded, in float64."""
    name = bundle.manifest.preprocessing.id
    found = model.features(cxr_preprocess.client_plane(name, grey))
    pooled = found.pooled.astype(np.float64).reshape(-1)
    z = float(((pooled - probe.mean) / probe.scale) @ probe.coef + probe.intercept)
    return _said(bundle, found.fine, z, prepare(name, grey))


def candidate(embed: Embed, bundle: Bundle, grey: NDArray[np.uint16]) -> Said:
    """Return what the bundle says of an image with this embedder."""
    prepared = prepare(bundle.manifest.preprocessing.id, grey)
    features = embed(prepared.tensor)
    z = head.logit(features, bundle.head, bundle.manifest.embedder.pool)
    return _said(bundle, features, z, prepared)


def difference(wanted: Said, found: Said) -> Difference:
    """Return how far two models are apart on one image."""
    a, b = (said.features.ravel().astype(np.float64) for said in (wanted, found))
    peak, highest = int(found.shown.argmax()), float(wanted.shown.max())
    same_peak = peak == int(wanted.shown.argmax())
    peak_agrees = bool(wanted.shown[peak] >= highest - PEAK_TIE * abs(highest))
    same_outcome = wanted.outcome is found.outcome
    tied = peak_agrees and not same_peak and Outcome.NEGATIVE not in {wanted.outcome, found.outcome}
    return Difference(
        cosine=float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b))),
        logit=abs(wanted.z - found.z),
        probability=abs(wanted.p - found.p),
        same_peak=same_peak,
        peak_agrees=peak_agrees,
        same_outcome=same_outcome,
        outcome_agrees=same_outcome or tied,
    )


def summary(found: Sequence[Difference]) -> Parity:
    """Return the comparison over all images; a value that is not a number stays one."""
    return Parity(
        images=len(found),
        cosine=float(np.min([one.cosine for one in found])),
        logit=float(np.max([one.logit for one in found])),
        probability=float(np.max([one.probability for one in found])),
        same_peaks=float(np.mean([one.same_peak for one in found])),
        peaks=float(np.mean([one.peak_agrees for one in found])),
        same_outcomes=float(np.mean([one.same_outcome for one in found])),
        outcomes=float(np.mean([one.outcome_agrees for one in found])),
    )


def check(what: str, found: Parity, bounds: Bounds) -> None:
    """Raise LabError where a comparison lies beyond the bounds."""
    broken = found.broken(bounds)
    if broken:
        message = f"{what} does not answer as the SavedModel does: {'; '.join(broken)}; nothing was written"
        raise LabError(message)


def _said(bundle: Bundle, features: NDArray[np.float32], z: float, prepared: Prepared) -> Said:
    calibration = bundle.manifest.calibration
    p = head.probability(z, calibration.a, calibration.d) if np.isfinite(z) else float("nan")
    values = evidence_map(features, bundle.head, bundle.manifest.embedder.pool)
    body = prepared.body_cells(*values.shape)
    outcome, _ = decide_view(p, measure(values, body, bundle.gate.alpha), bundle.gate)
    return Said(features, z, p, np.where(body, values, -np.inf).ravel().astype(np.float32), outcome)
