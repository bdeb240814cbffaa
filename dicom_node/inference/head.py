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

    Summed in float64 over the pooled map, another order than the evidence map's, so that the two check each other.
    """
    rows, columns, _ = head.weight.shape
    blocks = features.reshape(rows, pool, columns, pool, -1)
    pooled = blocks.mean(axis=(1, 3), dtype=np.float64)
    return float(np.vdot(pooled, head.weight.astype(np.float64))) + head.bias


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
