"""The linear head on image labels, trained with the embedder and laid over the pooled grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dicom_node.lab.features import GRID

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn


@dataclass(frozen=True, slots=True)
class LinearHead:
    """z = sum(weight * pooled features) + bias, weight [8, 8, 96]."""

    weight: NDArray[np.float32]
    bias: float

    def logits(self, pooled: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return z for each row of pooled features [n, 8, 8, 96]."""
        flat = pooled.reshape(len(pooled), self.weight.size).astype(np.float64)
        return flat @ self.weight.reshape(-1).astype(np.float64) + self.bias


def of(layer: nn.Linear) -> LinearHead:
    """Return a linear layer on the features' mean over the map as the same layer on the pooled grid, place by place."""
    weight = layer.weight.detach().cpu().numpy()[0].astype(np.float64) / (GRID * GRID)
    repeated = np.broadcast_to(weight, (GRID, GRID, len(weight)))
    return LinearHead(np.ascontiguousarray(repeated, dtype=np.float32), float(layer.bias.detach().cpu()[0]))
