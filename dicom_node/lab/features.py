"""What an embedder says about each image: pooled features for the head, and the dense box head's map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from dicom_node.lab.cache import CELLS
from dicom_node.lab.network import CHANNELS, LOGIT_CHANNEL
from dicom_node.lab.progress import track

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicom_node.lab.cache import Cache
    from dicom_node.lab.train import Embedder

POOL: Final = 4
GRID: Final = CELLS // POOL
_BATCH: Final = 16


@dataclass(frozen=True, slots=True)
class Features:
    """Rows of float32: pooled [n, 8, 8, 96] and the dense box head's logits [n, 32, 32]."""

    pooled: NDArray[np.float32]
    logits: NDArray[np.float32]


def extract(embedder: Embedder, cache: Cache, chosen: NDArray[np.int64]) -> Features:
    """Run the embedder (in float32, as when it is used) over the chosen rows of the cache."""
    n = len(chosen)
    pooled = np.zeros((n, GRID, GRID, CHANNELS), dtype=np.float32)
    logits = np.zeros((n, CELLS, CELLS), dtype=np.float32)
    starts = list(range(0, n, _BATCH))
    with torch.no_grad():
        for start in track(starts, "features, batches"):
            part = slice(start, start + _BATCH)
            inputs = torch.from_numpy(cache.tensors(chosen[part]))
            features = embedder(inputs)
            logits[part] = features[:, LOGIT_CHANNEL].numpy()
            pooled[part] = _pool(features)
    return Features(pooled, logits)


def pooled(embedder: Embedder, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the pooled features [n, 8, 8, 96] of inputs [n, 1, 512, 512]."""
    with torch.no_grad():
        return _pool(embedder(torch.from_numpy(tensor)))


def _pool(features: torch.Tensor) -> NDArray[np.float32]:
    grid = torch.nn.functional.avg_pool2d(features, POOL).permute(0, 2, 3, 1)
    return np.asarray(grid.contiguous().numpy(), dtype=np.float32)
