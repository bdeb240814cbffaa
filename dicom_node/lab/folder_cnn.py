"""The folder-data CNN: two classes under cross-entropy and Adam, and the figures that such systems publish."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dicom_node.lab import metrics
from dicom_node.lab.selective import ratio

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Figures:
    """Counts at the likelier class (p >= 0.5), and what is made of them; an undefined figure is None."""

    true_positive: int
    false_positive: int
    true_negative: int
    false_negative: int
    accuracy: float | None
    precision: float | None
    sensitivity: float | None
    specificity: float | None
    f1: float | None
    roc_auc: float | None


def figures(labels: NDArray[np.bool_], p: NDArray[np.float64]) -> Figures:
    """Return precision, sensitivity, specificity and ROC-AUC of probabilities against labels."""
    called = p >= 0.5  # noqa: PLR2004 - the likelier of two classes
    hit, alarm = int((called & labels).sum()), int((called & ~labels).sum())
    missed, clear = int((~called & labels).sum()), int((~called & ~labels).sum())
    both = bool(labels.any()) and not bool(labels.all())
    return Figures(
        true_positive=hit,
        false_positive=alarm,
        true_negative=clear,
        false_negative=missed,
        accuracy=ratio(hit + clear, len(labels)),
        precision=ratio(hit, hit + alarm),
        sensitivity=ratio(hit, hit + missed),
        specificity=ratio(clear, clear + alarm),
        f1=ratio(2 * hit, 2 * hit + alarm + missed),
        roc_auc=metrics.auc(labels, p) if both else None,
    )
