"""What is said about scores: each figure with its interval, or null with the reason why it is undefined."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit

from dicom_node.lab import calibrate, metrics, selective

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

_BINS: Final = 10
# ln T is sought here: temperatures from 1/400 to 400.
_LOG_TEMPERATURE: Final = 6.0
TEMPERATURE, PLATT, NONE = "temperature", "platt", "none"


@dataclass(frozen=True, slots=True)
class Scores:
    """Scored images: z and label of each, the unit that is drawn again (its group, or itself), and its fold."""

    labels: NDArray[np.bool_]
    z: NDArray[np.float64]
    units: NDArray[np.str_]
    folds: NDArray[np.int64]

    def among(self, chosen: NDArray[np.bool_]) -> Scores:
        """Return the scores of some of the images."""
        return Scores(self.labels[chosen], self.z[chosen], self.units[chosen], self.folds[chosen])


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """How often units are drawn again, and from which seed."""

    draws: int = 1000
    seed: int = 1


def figure(
    scores: Scores,
    values: NDArray[np.float64],
    statistic: Callable[[NDArray[np.bool_], NDArray[np.float64]], float],
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    """Return {value, low, high} of a statistic of labels and values, or {value: null, reason} where it is undefined."""
    reason = undefined(scores.labels)
    if reason:
        return {"value": None, "reason": reason}
    interval = metrics.group_interval(
        scores.units, scores.labels, values, statistic, seed=bootstrap.seed, draws=bootstrap.draws
    )
    return {"value": statistic(scores.labels, values), "low": interval.low, "high": interval.high}


def undefined(labels: NDArray[np.bool_]) -> str:
    """Return why nothing that compares two classes is defined for these labels, '' where it is."""
    if not len(labels):
        return "no image"
    if labels.all() or not labels.any():
        return f"all {len(labels)} images are {'fractured' if labels.any() else 'not fractured'}"
    return ""


def discrimination(scores: Scores, bootstrap: Bootstrap) -> dict[str, Any]:
    """Return counts, AUC and average precision."""
    return {
        "images": len(scores.labels),
        "fractured": int(scores.labels.sum()),
        "auc": figure(scores, scores.z, metrics.auc, bootstrap),
        "average_precision": figure(scores, scores.z, metrics.average_precision, bootstrap),
    }


def selective_figures(scores: Scores, p: NDArray[np.float64], bootstrap: Bootstrap) -> dict[str, Any]:
    """Return AURC and AUGRC of deciding the surest calibrated probabilities first, each with its interval."""

    def area(of: Callable[..., float | None]) -> Callable[[NDArray[np.bool_], NDArray[np.float64]], float]:
        def statistic(labels: NDArray[np.bool_], q: NDArray[np.float64]) -> float:
            found = of(*selective.likelier(labels, q))
            return float("nan") if found is None else found

        return statistic

    return {
        "aurc": figure(scores, p, area(selective.aurc), bootstrap),
        "augrc": figure(scores, p, area(selective.augrc), bootstrap),
    }


def at_threshold(labels: NDArray[np.bool_], p: NDArray[np.float64], threshold: float) -> dict[str, Any]:
    """Return the confusion table at a threshold and what follows from it."""
    flagged = p >= threshold
    table = {
        "true_positive": int((flagged & labels).sum()),
        "false_positive": int((flagged & ~labels).sum()),
        "false_negative": int((~flagged & labels).sum()),
        "true_negative": int((~flagged & ~labels).sum()),
    }
    found = metrics.operating(labels, p, threshold)
    both = 2 * table["true_positive"] + table["false_positive"] + table["false_negative"]
    return {
        "threshold": threshold,
        "confusion": table,
        "sensitivity": found.sensitivity,
        "specificity": found.specificity,
        "precision": found.precision,
        "f1": 2 * table["true_positive"] / both if both else None,
        "accuracy": float((flagged == labels).mean()) if len(labels) else None,
    }


def fit_temperature(z: NDArray[np.float64], labels: NDArray[np.bool_]) -> float:
    """Return the T for which sigmoid(z / T) has the least negative log-likelihood."""

    def loss(log_t: float) -> float:
        return metrics.negative_log_likelihood(labels, np.asarray(expit(z / np.exp(log_t)), dtype=np.float64))

    best = minimize_scalar(
        loss, bounds=(-_LOG_TEMPERATURE, _LOG_TEMPERATURE), method="bounded", options={"xatol": 1e-6}
    )
    return float(np.exp(best.x))


@dataclass(frozen=True, slots=True)
class Calibration:
    """p = sigmoid(a z + d), by a method."""

    method: str
    a: float
    d: float

    def probability(self, z: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return calibrated probabilities."""
        return np.asarray(expit(self.a * z + self.d), dtype=np.float64)


def fit_calibration(method: str, z: NDArray[np.float64], labels: NDArray[np.bool_]) -> Calibration:
    """Fit a calibration on held-out scores."""
    if method == PLATT:
        found = calibrate.platt(z, labels)
        return Calibration(method, found.a, found.d)
    return Calibration(method, 1.0 / fit_temperature(z, labels) if method == TEMPERATURE else 1.0, 0.0)


def cross_fitted(method: str, scores: Scores) -> NDArray[np.float64]:
    """Return probabilities, each calibrated on the other folds: a calibration too must not see what it is judged by."""
    p = np.full(len(scores.z), np.nan)
    for fold in np.unique(scores.folds):
        test = scores.folds == fold
        train = ~test
        learn = train if train.any() and not undefined(scores.labels[train]) else np.ones(len(p), dtype=np.bool_)
        p[test] = fit_calibration(method, scores.z[learn], scores.labels[learn]).probability(scores.z[test])
    return p


def calibration_figures(scores: Scores, bootstrap: Bootstrap) -> dict[str, Any]:
    """Return, for each method, its parameters and cross-fitted Brier score, NLL and equal-mass ECE, with intervals."""
    reason = undefined(scores.labels)
    if reason:
        return {"value": None, "reason": reason}
    result: dict[str, Any] = {}
    for method in (NONE, TEMPERATURE, PLATT):
        p = cross_fitted(method, scores)
        fitted = fit_calibration(method, scores.z, scores.labels)
        result[method] = {
            "a": fitted.a,
            "d": fitted.d,
            "brier": figure(scores, p, metrics.brier, bootstrap),
            "nll": figure(scores, p, metrics.negative_log_likelihood, bootstrap),
            "ece": figure(scores, p, metrics.calibration_error, bootstrap),
        }
    result[TEMPERATURE]["temperature"] = 1.0 / result[TEMPERATURE]["a"]
    prevalence = float(scores.labels.mean())
    result["brier_of_prevalence"] = prevalence * (1.0 - prevalence)
    return result


def reliability(labels: NDArray[np.bool_], p: NDArray[np.float64]) -> list[tuple[float, float, int]]:
    """Return mean probability, share fractured and count of bins of equal mass."""
    order = np.argsort(p, kind="stable")
    return [
        (float(p[part].mean()), float(labels[part].mean()), len(part))
        for part in np.array_split(order, _BINS)
        if len(part)
    ]
