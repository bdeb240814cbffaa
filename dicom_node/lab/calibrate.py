"""From held-out scores to probabilities and thresholds: Platt scaling, and exact binomial control of the misses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import beta
from sklearn.linear_model import LogisticRegression

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Platt:
    """p = sigmoid(a * z + d)."""

    a: float
    d: float

    def probability(self, z: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return calibrated probabilities."""
        return np.asarray(1.0 / (1.0 + np.exp(-(self.a * z + self.d))), dtype=np.float64)


def platt(z: NDArray[np.float64], labels: NDArray[np.bool_]) -> Platt:
    """Fit (a, d) by logistic regression without a penalty."""
    spread = float(z.std()) or 1.0
    model = LogisticRegression(C=1e6, max_iter=1000).fit((z / spread)[:, None], labels)
    return Platt(float(model.coef_[0, 0]) / spread, float(model.intercept_[0]))


def upper_bound(missed: int, positives: int, confidence: float) -> float:
    """Return the exact (Clopper-Pearson) one-sided upper bound on a miss rate."""
    if missed >= positives:
        return 1.0
    return float(beta.ppf(confidence, missed + 1, positives - missed))


def allowed_misses(positives: int, rate: float, confidence: float) -> int | None:
    """Return how many of the positives may be missed so that the bound holds, or None where even none is too few."""
    best = None
    for missed in range(positives):
        if upper_bound(missed, positives, confidence) > rate:
            break
        best = missed
    return best


@dataclass(frozen=True, slots=True)
class RiskBound:
    """The lower threshold and what is certified about it.

    reached: the exact binomial upper bound if images were independent. groups: how many hold a positive.
    reached_by_group: the upper bound when whole groups are drawn again, None where groups were not told apart.
    """

    threshold: float
    target: float
    reached: float
    confidence: float
    positives: int
    missed: int
    groups: int = 0
    reached_by_group: float | None = None

    @property
    def certified(self) -> bool:
        """Tell whether what was asked for holds, by image and, where there are groups, by group."""
        by_group = self.reached_by_group
        return self.reached <= self.target and (by_group is None or by_group <= self.target)


def control_misses(
    p: NDArray[np.float64],
    labels: NDArray[np.bool_],
    rate: float,
    confidence: float,
    groups: NDArray[np.str_] | None = None,
) -> RiskBound:
    """Return the highest p_low whose missed fractures (p < p_low) stay within the bound.

    Thresholds are tried upwards in a fixed order and the first failure ends the walk (fixed-sequence testing), so the
    confidence needs no correction for the number of thresholds. With groups the bound must hold twice: exactly, by
    image, and by a bootstrap of whole groups, since images of one group are no independent trials.
    """
    order = np.argsort(p[labels], kind="stable")
    positives = p[labels][order]
    n = len(positives)
    owners = None if groups is None else groups[labels][order]
    count = 0 if owners is None else len(np.unique(owners))
    allowed = allowed_misses(n, rate, confidence)
    if allowed is None:
        return RiskBound(0.0, rate, upper_bound(0, n, confidence), confidence, n, 0, count)
    bounds = None if owners is None else _bounds_by_group(owners, allowed, confidence)
    if bounds is not None:
        allowed = int(np.argmax(np.append(bounds > rate, True))) - 1  # the walk ends at the first failure
    # At this threshold exactly the `allowed` lowest fractures lie below it.
    threshold = _floor(float(positives[allowed]))
    missed = int((positives < threshold).sum())
    by_group = None if bounds is None else float(bounds[missed])
    return RiskBound(threshold, rate, upper_bound(missed, n, confidence), confidence, n, missed, count, by_group)


def _bounds_by_group(owners: NDArray[np.str_], most: int, confidence: float, draws: int = 2000) -> NDArray[np.float64]:
    """Return the one-sided upper bound on the miss rate when the 0, 1, … `most` least likely positives are missed."""
    names, index = np.unique(owners, return_inverse=True)
    sizes = np.bincount(index).astype(np.float64)
    # One seed, so that the same scores always give the same threshold.
    weights = np.random.default_rng(0).multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    drawn = weights @ sizes
    missed = np.zeros(len(names))
    bounds = []
    for lost in range(most + 1):
        bounds.append(float(np.quantile(weights @ missed / drawn, confidence)))
        missed[index[lost]] += 1.0
    return np.array(bounds)


def _floor(value: float) -> float:
    # Rounded down, so that a number copied from the manifest misses no more than the one measured here.
    return float(np.floor(value * 1e4) / 1e4)


def precision_threshold(
    p: NDArray[np.float64], labels: NDArray[np.bool_], precision: float, least: int
) -> tuple[float, float]:
    """Return the lowest threshold with this precision among at least `least` images, and the precision reached.

    Where no threshold reaches it, the one with the best precision is returned.
    """
    order = np.argsort(-p, kind="stable")
    reached = np.cumsum(labels[order]) / np.arange(1, len(order) + 1)
    allowed = np.flatnonzero(np.arange(1, len(order) + 1) >= min(least, len(order)))
    good = allowed[reached[allowed] >= precision]
    last = int(good[-1]) if len(good) else int(allowed[int(np.argmax(reached[allowed]))])
    threshold = _floor(float(p[order[last]]))
    return threshold, float(labels[p >= threshold].mean())
