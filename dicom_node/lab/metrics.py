"""The figures: discrimination, calibration, and intervals by group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % percentile interval."""

    low: float
    high: float


def auc(labels: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    """Return the area under the ROC curve, or NaN where only one class is present."""
    if labels.all() or not labels.any():
        return float("nan")
    positives = int(labels.sum())
    ranks = rankdata(scores)[labels].sum()
    # Mann and Whitney's U: the same number as the ROC curve's area, without sorting out a curve a thousand times.
    return float((ranks - positives * (positives + 1) / 2) / (positives * (len(labels) - positives)))


def average_precision(labels: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    """Return the average precision, or NaN where no positive is present."""
    if not labels.any():
        return float("nan")
    return float(average_precision_score(labels, scores))


def group_interval(
    groups: NDArray[np.str_],
    labels: NDArray[np.bool_],
    scores: NDArray[np.float64],
    statistic: Callable[[NDArray[np.bool_], NDArray[np.float64]], float],
    *,
    seed: int,
    draws: int = 1000,
) -> Interval:
    """Return the bootstrap interval of a statistic when whole groups are drawn again, since images of one are alike."""
    random = np.random.default_rng(seed)
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    values = []
    for _ in range(draws):
        picked = np.concatenate([members[i] for i in random.integers(len(members), size=len(members))])
        values.append(statistic(labels[picked], scores[picked]))
    low, high = np.nanpercentile(np.array(values), (2.5, 97.5))
    return Interval(float(low), float(high))


def brier(labels: NDArray[np.bool_], p: NDArray[np.float64]) -> float:
    """Return the mean squared error of the probabilities."""
    return float(np.mean((p - labels) ** 2))


def negative_log_likelihood(labels: NDArray[np.bool_], p: NDArray[np.float64]) -> float:
    """Return the mean negative log-likelihood."""
    safe = np.clip(p, 1e-12, 1 - 1e-12)
    return float(-np.mean(np.where(labels, np.log(safe), np.log(1 - safe))))


def calibration_error(labels: NDArray[np.bool_], p: NDArray[np.float64], bins: int = 10) -> float:
    """Return the expected calibration error over bins of equal mass."""
    order = np.argsort(p, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return float(sum(len(part) * abs(p[part].mean() - labels[part].mean()) for part in parts) / len(p))


@dataclass(frozen=True, slots=True)
class Operating:
    """What a threshold does."""

    threshold: float
    sensitivity: float
    specificity: float
    precision: float
    flagged: int


def operating(labels: NDArray[np.bool_], p: NDArray[np.float64], threshold: float) -> Operating:
    """Return sensitivity, specificity and precision of "p is at least the threshold"."""
    return operating_of(labels, p >= threshold, threshold)


def operating_of(labels: NDArray[np.bool_], flagged: NDArray[np.bool_], threshold: float) -> Operating:
    """Return the same of images that were flagged by such a threshold."""
    return Operating(
        threshold=threshold,
        sensitivity=_share(flagged, labels),
        specificity=_share(~flagged, ~labels),
        precision=_share(labels, flagged),
        flagged=int(flagged.sum()),
    )


def specificity_at(labels: NDArray[np.bool_], scores: NDArray[np.float64], sensitivity: float) -> float:
    """Return the best specificity of a threshold that finds at least this share of the positives, NaN without both."""
    if labels.all() or not labels.any():
        return float("nan")
    positives = np.sort(scores[labels])
    # At this score so many positives lie below that the share above is still reached.
    lost = int(np.floor((1.0 - sensitivity) * len(positives) + 1e-9))
    return float((scores[~labels] < positives[lost]).mean())


def _share(what: NDArray[np.bool_], among: NDArray[np.bool_]) -> float:
    return float(what[among].mean()) if among.any() else float("nan")
