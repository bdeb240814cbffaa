"""The linear head on image labels: fitted on standardised features, folded into one exact float32 vector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from sklearn.linear_model import LogisticRegression

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class LinearHead:
    """z = sum(weight * pooled features) + bias, weight [8, 8, 96]."""

    weight: NDArray[np.float32]
    bias: float

    def logits(self, pooled: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return z for each row of pooled features [n, 8, 8, 96]."""
        flat = pooled.reshape(len(pooled), -1).astype(np.float64)
        return flat @ self.weight.reshape(-1).astype(np.float64) + self.bias


@dataclass(frozen=True, slots=True)
class Regularisation:
    """strength: the inverse penalty C. place: how freely weights may differ between the grid's places (0: never)."""

    strength: float = 0.1
    place: float = 0.1


def fit(pooled: NDArray[np.float32], labels: NDArray[np.bool_], settings: Regularisation) -> LinearHead:
    """Fit the head: what a channel means is shared over the grid, and a place may depart from it at a price.

    The model sees the mean over the grid of each channel, and each cell scaled by `place`. Both are linear in the
    features, so coefficients, means and scales fold into one vector.
    """
    cells = pooled.astype(np.float64)
    n, rows, columns, channels = cells.shape
    centre = cells.mean((0, 1, 2))
    spread = cells.reshape(-1, channels).std(0) + 1e-6
    unit = (cells - centre) / spread
    mean = unit.mean((1, 2))
    mean_spread = mean.std(0) + 1e-6
    share = settings.place / np.sqrt(rows * columns)
    design = np.hstack([mean / mean_spread, (unit * share).reshape(n, -1)])
    model = LogisticRegression(C=settings.strength, class_weight="balanced", max_iter=400)
    model.fit(design.astype(np.float32), labels)
    coefficients = np.asarray(model.coef_[0], dtype=np.float64)
    common = coefficients[:channels] / mean_spread / (rows * columns)
    local = coefficients[channels:].reshape(rows, columns, channels) * share
    weight = (common + local) / spread
    bias = float(model.intercept_[0]) - float((weight * centre).sum())
    return LinearHead(np.asarray(weight, dtype=np.float32), bias)
