"""How concentrated a map's positive evidence is, on its native grid (never on an upsampled one)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class MapMeasures:
    """Entropy, area and out-of-body share of a map, and its peak cell as (row, column).

    complete is false where nothing positive lies on the body: there is no region to speak of.
    """

    entropy: float
    area: float
    out_of_body: float
    peak: tuple[int, int]
    on_border: bool
    complete: bool


def measure(evidence: NDArray[np.float32], body: NDArray[np.bool_], alpha: float) -> MapMeasures:
    """Measure a signed evidence map [rows, columns] over the body's cells (same shape).

    P = relu(M) over body cells; entropy = -sum P ln P / ln N in [0, 1]; area = share of body cells with
    P >= alpha * max P; out_of_body = share of all positive evidence that lies outside the body.
    """
    import numpy as np  # noqa: PLC0415 - the node knows the measures of its findings, and measures none itself

    positive = np.maximum(evidence, 0.0).astype(np.float64)
    total = float(positive.sum())
    inside = np.where(body, positive, 0.0)
    mass = float(inside.sum())
    cells = int(body.sum())
    row, column = (int(i) for i in np.unravel_index(int(inside.argmax()), inside.shape))
    on_border = row in {0, inside.shape[0] - 1} or column in {0, inside.shape[1] - 1}
    if mass <= 0.0 or cells < 2:  # noqa: PLR2004 - entropy over fewer than two cells has no meaning
        outside = 1.0 if total > 0.0 else 0.0
        return MapMeasures(1.0, 0.0, outside, (row, column), on_border, complete=False)
    share = inside[body] / mass
    share = share[share > 0.0]
    entropy = float(-(share * np.log(share)).sum() / np.log(cells))
    area = float((inside[body] >= alpha * inside.max()).sum() / cells)
    return MapMeasures(
        min(max(entropy, 0.0), 1.0), area, (total - mass) / total, (row, column), on_border, complete=True
    )
