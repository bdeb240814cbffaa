"""Do two runtimes of one bundle say the same? Asked before a plan is used, of any two embedders, and fail closed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from dicom_node.core.findings import Outcome
from dicom_node.core.intended_use import attributes_within
from dicom_node.core.radiograph import Radiograph
from dicom_node.inference.evidence import peak_cell
from dicom_node.inference.pipeline import Analysis, Pipeline

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicom_node.inference.bundle import Bundle
    from dicom_node.inference.embedder import Embedder

IMAGES_MIN: Final = 64
COSINE_MIN: Final = 0.999
LOGIT_MAX: Final = 0.05
PROBABILITY_MAX: Final = 0.01
PEAKS_MIN: Final = 0.98
OUTCOMES_MIN: Final = 0.995


@dataclass(frozen=True, slots=True)
class Acceptance:
    """How far two runtimes lie apart over `images` images that the reference analyses.

    cosine: least cosine of the two feature maps; logit, probability: largest absolute differences; peaks, outcomes:
    shares of images with the same strongest cell and the same outcome; unfinished: images on which only the candidate
    gave no number (values that are not finite, a map that does not sum to the score).
    """

    reference: str
    candidate: str
    images: int
    unfinished: int
    cosine: float
    logit: float
    probability: float
    peaks: float
    outcomes: float

    @property
    def problems(self) -> tuple[str, ...]:
        """What is out of bounds, in words; empty where the candidate may be used."""
        checks = (
            (self.images >= IMAGES_MIN, f"{self.images} images tried, {IMAGES_MIN} needed"),
            (self.unfinished == 0, f"no number for {self.unfinished} images"),
            (self.cosine >= COSINE_MIN, f"cosine of features {self.cosine:.6f}, at least {COSINE_MIN} needed"),
            (self.logit <= LOGIT_MAX, f"logits differ by {self.logit:.4f}, at most {LOGIT_MAX} allowed"),
            (
                self.probability <= PROBABILITY_MAX,
                f"probabilities differ by {self.probability:.4f}, at most {PROBABILITY_MAX} allowed",
            ),
            (self.peaks >= PEAKS_MIN, f"same peak on {self.peaks:.1%}, at least {PEAKS_MIN:.1%} needed"),
            (self.outcomes >= OUTCOMES_MIN, f"same outcome on {self.outcomes:.1%}, at least {OUTCOMES_MIN:.1%} needed"),
        )
        # A comparison with NaN is false, so what is not a number is a problem.
        return tuple(text for good, text in checks if not good)

    @property
    def passed(self) -> bool:
        """Whether the candidate may be used."""
        return not self.problems


@dataclass(frozen=True, slots=True)
class _Pair:
    """What one image gave on both runtimes."""

    finished: bool
    cosine: float
    logit: float
    probability: float
    same_peak: bool
    same_outcome: bool


class _Recording:
    """Passes inputs on to an embedder and keeps the last features, which a finding does not hold."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self.features: NDArray[np.float32] | None = None

    @property
    def runtime(self) -> str:
        return self._embedder.runtime

    def embed(self, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        self.features = self._embedder.embed(tensor)
        return self.features

    def close(self) -> None:
        """Close nothing: the caller's embedder stays the caller's."""


def compare(
    bundle: Bundle, reference: Embedder, candidate: Embedder, images: Iterable[NDArray[np.uint16]]
) -> Acceptance:
    """Run each image (grey, uint16) through the node's own pipeline on both runtimes and measure the differences.

    Images that the reference does not analyse (flat, too small) are left out. WorkerCrashed and BundleError pass
    through.
    """
    both = (_Recording(reference), _Recording(candidate))
    pipelines = (Pipeline(bundle, both[0]), Pipeline(bundle, both[1]))
    scope = bundle.intended_use
    attributes = attributes_within(scope)
    pairs: list[_Pair] = []
    for number, grey in enumerate(images):
        answers = [pipeline.analyse(f"2.25.{number}", attributes, Radiograph(grey)) for pipeline in pipelines]
        if answers[0].finding.outcome is not Outcome.NOT_ANALYSED:
            pairs.append(_pair(answers[0], answers[1], both[0].features, both[1].features))
    return _summary(pairs, reference.runtime, candidate.runtime)


def _pair(
    first: Analysis, second: Analysis, features: NDArray[np.float32] | None, others: NDArray[np.float32] | None
) -> _Pair:
    one, two = first.finding, second.finding
    if None in {one.logit, two.logit, one.probability, two.probability} or features is None or others is None:
        return _Pair(False, 0.0, np.inf, np.inf, same_peak=False, same_outcome=False)  # noqa: FBT003 - a record
    return _Pair(
        finished=True,
        cosine=_cosine(features, others),
        logit=abs((one.logit or 0.0) - (two.logit or 0.0)),
        probability=abs((one.probability or 0.0) - (two.probability or 0.0)),
        same_peak=_peak(first) == _peak(second),
        same_outcome=one.outcome is two.outcome,
    )


def _cosine(one: NDArray[np.float32], two: NDArray[np.float32]) -> float:
    first, second = one.astype(np.float64).ravel(), two.astype(np.float64).ravel()
    norms = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / norms if norms else float(np.array_equal(first, second))


def _peak(analysis: Analysis) -> tuple[int, int] | None:
    return peak_cell(analysis.shown_map) if analysis.shown_map is not None else None


def _summary(pairs: list[_Pair], reference: str, candidate: str) -> Acceptance:
    finished = [pair for pair in pairs if pair.finished]
    count = max(1, len(pairs))
    return Acceptance(
        reference=reference,
        candidate=candidate,
        images=len(pairs),
        unfinished=len(pairs) - len(finished),
        cosine=min((pair.cosine for pair in finished), default=0.0),
        logit=max((pair.logit for pair in finished), default=0.0),
        probability=max((pair.probability for pair in finished), default=0.0),
        peaks=sum(pair.same_peak for pair in pairs) / count,
        outcomes=sum(pair.same_outcome for pair in pairs) / count,
    )
