"""The EdgeFracture probe: StandardScaler and LogisticRegression on frozen embeddings, folded into one vector."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import threadpoolctl  # type: ignore[import-untyped,unused-ignore]  # scikit-learn's own, always beside it
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from dicom_node.lab.runs import LabError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CHUNK: Final = 64
_ITERATIONS: Final = 5000
_TOLERANCE: Final = 1e-6
# Directions with less than this share of the largest variance are rounding noise of the float32 products.
_NEGLIGIBLE: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Settings:
    """strength: the inverse penalty C. balanced: weigh the classes as if there were as many of each."""

    strength: float = 1.0
    balanced: bool = True


@dataclass(frozen=True, slots=True)
class LinearProbe:
    """The numbers of a probe, float64: z = coef · (features - mean) / scale + intercept."""

    coef: NDArray[np.float64]
    intercept: float
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Folded:
    """The probe as one vector: z = weight · features + bias."""

    weight: NDArray[np.float32]
    bias: float

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return z of each row, summed in float64 a few rows at a time, so that no large copy is made."""
        weight = self.weight.astype(np.float64)
        z = np.empty(len(features), dtype=np.float64)
        for start in range(0, len(features), _CHUNK):
            part = slice(start, start + _CHUNK)
            z[part] = np.asarray(features[part], dtype=np.float64) @ weight + self.bias
        return z


@dataclass(frozen=True, slots=True)
class Fitted:
    """What scikit-learn fitted: plain objects that a published tool can load, and how the optimiser ended."""

    model: Any
    scaler: Any
    converged: bool

    @property
    def linear(self) -> LinearProbe:
        """The numbers within."""
        return LinearProbe(
            np.asarray(self.model.coef_[0], dtype=np.float64),
            float(self.model.intercept_[0]),
            np.asarray(self.scaler.mean_, dtype=np.float64),
            np.asarray(self.scaler.scale_, dtype=np.float64),
        )


def fold(probe: LinearProbe) -> Folded:
    """Return the one vector: weight = coef / scale, bias = intercept - sum(coef · mean / scale)."""
    weight = probe.coef / probe.scale
    return Folded(np.asarray(weight, dtype=np.float32), float(probe.intercept - weight @ probe.mean))


def fit(
    features: NDArray[np.float32], chosen: NDArray[np.int64], labels: NDArray[np.bool_], settings: Settings
) -> Fitted:
    """Fit scaler and logistic regression on the chosen rows; `labels` are theirs.

    The chosen rows are copied once, in float32, and standardised in place. Where a row is longer than there are rows
    (88,064 against some thousands), the regression is fitted in the span of the rows: its penalty does not change when
    the axes turn, so the best coefficients lie in that span, and the optimiser sees a small square table in place of
    the wide one. The answer is the same as the wide fit's.
    """
    if labels.all() or not labels.any():
        which = "fractured" if labels.any() else "not fractured"
        message = f"all {len(labels)} images to learn from are {which}: a probe needs both classes"
        raise LabError(message)
    # Picking rows makes the one copy; a plain array of it, for it is written to.
    rows = np.asarray(features[chosen], dtype=np.float32, order="C")
    _check_finite(rows)
    scaler = _standardise(rows)
    if rows.shape[1] > rows.shape[0]:
        model, converged = _fit_in_span(rows, labels, settings)
    else:
        model, converged = _regression(rows, labels, settings)
    return Fitted(model, scaler, converged)


def _check_finite(rows: NDArray[np.float32]) -> None:
    # A sum is not finite where any value is not; it needs no table of flags as large as the rows.
    if not np.isfinite(rows.sum(dtype=np.float64)):
        message = "the embeddings hold values that are not numbers; make them again with `dicom-node lab embed`"
        raise LabError(message)


def _standardise(rows: NDArray[np.float32]) -> Any:
    scaler = StandardScaler(copy=False)
    # A few rows at a time: partial_fit makes several float64 tables of what it is given.
    parts = [slice(start, start + _CHUNK) for start in range(0, len(rows), _CHUNK)]
    for part in parts:
        scaler.partial_fit(rows[part])
    for part in parts:
        rows[part] = scaler.transform(rows[part])
    # What is shipped must not write into the arrays of whoever uses it.
    return scaler.set_params(copy=True)


def _regression(
    design: NDArray[np.float32] | NDArray[np.float64], labels: NDArray[np.bool_], settings: Settings
) -> tuple[Any, bool]:
    weight = "balanced" if settings.balanced else None
    model = LogisticRegression(C=settings.strength, class_weight=weight, max_iter=_ITERATIONS, tol=_TOLERANCE)
    # Each of the optimiser's steps is short: threads would wait for each other longer than they work, most of all where
    # something else is running. The long products before it keep theirs.
    with warnings.catch_warnings(), threadpoolctl.threadpool_limits(1, "blas"):
        warnings.simplefilter("ignore", ConvergenceWarning)  # told by the flag below, and reported
        model.fit(design, labels.astype(np.int64))
    return model, bool(model.n_iter_[0] < _ITERATIONS)


def _fit_in_span(rows: NDArray[np.float32], labels: NDArray[np.bool_], settings: Settings) -> tuple[Any, bool]:
    """Fit on the rows' coordinates in their own span, then turn the coefficients back."""
    values, vectors = np.linalg.eigh((rows @ rows.T).astype(np.float64))
    kept = values > _NEGLIGIBLE * values[-1]
    roots = np.sqrt(values[kept])
    model, converged = _regression(vectors[:, kept] * roots, labels, settings)
    # With rows = vectors · roots · turnᵀ, coefficients u along the turned axes are turn · u in the wide space.
    mixing = vectors[:, kept] @ (model.coef_[0] / roots)
    model.coef_ = np.asarray(mixing.astype(np.float32) @ rows, dtype=np.float32)[None]
    model.n_features_in_ = rows.shape[1]
    return model, converged
