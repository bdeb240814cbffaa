"""The linear head in closed form: one score, and a probability."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicom_node.inference.bundle import Head


def logit(features: NDArray[np.float32], head: Head, pool: int) -> float:
    """Return z = sum(weight * averagepool(features)) + bias; features float32 [rows, columns, channels].

    Pooled first and summed in float64, another order than the evidence map's, so that the two check each other; a row
    of cells at a time, so that the feature map is never copied.
    """
    _, columns, channels = head.weight.shape
    z = 0.0
    for row, weight in enumerate(head.weight):
        summed = features[row * pool : (row + 1) * pool].sum(axis=0)
        cells = summed.reshape(columns, pool, channels).sum(axis=1)
        # Not a BLAS product: so short a one, shared among threads, waits longer than it works on a busy machine.
        z += float(np.multiply(cells, weight, dtype=np.float64).sum())
    return z / (pool * pool) + head.bias


def probability(z: float, a: float, d: float) -> float:
    """Return sigmoid(a z + d), without overflow at either end."""
    x = a * z + d
    if x >= 0.0:
        return 1.0 / (1.0 + math.exp(-x))
    power = math.exp(x)
    return power / (1.0 + power)


def retrieval_vector(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean over all cells, float32 [channels]: by it similar cases are found."""
    return np.asarray(features.mean(axis=(0, 1), dtype=np.float64), dtype=np.float32)
