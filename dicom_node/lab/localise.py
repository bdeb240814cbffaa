"""Does the map point at the fracture, and which bounds keep the good maps: measured on held-out images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from dicom_node.core.decision import Gate, is_trusted
from dicom_node.core.localisation import MapMeasures, measure
from dicom_node.lab.network import STRIDE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dicom_node.lab.dataset import Box

ALPHA: Final = 0.5
_KEPT: Final = 0.95
_LOCATED: Final = 0.97


@dataclass(frozen=True, slots=True)
class MapBounds:
    """The gate's bounds on a map, and the shift that puts the map's zero where it says something."""

    shift: float
    entropy_max: float
    area_max: float
    out_of_body_max: float


def peak_in_box(peak: tuple[int, int], boxes: Sequence[Box]) -> bool:
    """Tell whether the peak cell touches a box, (top, left, bottom, right) in input pixels."""
    top, left = peak[0] * STRIDE, peak[1] * STRIDE
    return any(
        top < bottom and top + STRIDE > box_top and left < right and left + STRIDE > box_left
        for box_top, box_left, bottom, right in boxes
    )


def chance_hit(body: NDArray[np.bool_], boxes: Sequence[Box]) -> float:
    """Return the share of body cells that touch a box: the hit rate of pointing at random."""
    cells = np.argwhere(body)
    hits = [peak_in_box((int(row), int(column)), boxes) for row, column in cells]
    return float(np.mean(hits)) if hits else 0.0


def measures(maps: NDArray[np.float32], body: NDArray[np.bool_], shift: float = 0.0) -> list[MapMeasures]:
    """Measure each map after adding the shift, with the very code that the gate uses."""
    return [measure(plane + np.float32(shift), cells, ALPHA) for plane, cells in zip(maps, body, strict=True)]


def above_all(maps: NDArray[np.float32]) -> float:
    """Return a shift that makes every cell positive, so that the peak is the peak whatever the map's level."""
    return float(-maps.min()) + 1.0 if maps.size else 0.0


def choose_bounds(maps: NDArray[np.float32], body: NDArray[np.bool_]) -> MapBounds:
    """Choose shift and bounds from the held-out maps of true positives (flagged fractures whose peak is in a box).

    The shift makes the peak logit positive in nearly all of them, so that they have a region at all; each bound then
    keeps nearly all of them. What lies beyond is drawn as no region.
    """
    peaks = np.array(
        [plane[cells].max() if cells.any() else plane.max() for plane, cells in zip(maps, body, strict=True)]
    )
    shift = float(-np.quantile(peaks, 1.0 - _LOCATED)) if len(peaks) else 0.0
    found = [one for one in measures(maps, body, shift) if one.complete]
    if not found:
        return MapBounds(shift, 1.0, 1.0, 1.0)
    return MapBounds(
        shift=round(shift, 4),
        entropy_max=_bound([one.entropy for one in found]),
        area_max=_bound([one.area for one in found]),
        # The body's edge is found to about a cell: a stray cell beyond it is no reason to distrust a map.
        out_of_body_max=max(0.1, _bound([one.out_of_body for one in found])),
    )


def _bound(values: list[float]) -> float:
    quantile = float(np.quantile(np.array(values), _KEPT))
    # A bound of nearly nothing would turn on one stray cell.
    return float(min(1.0, max(0.02, np.ceil(quantile * 1000) / 1000)))


def trusted_share(maps: NDArray[np.float32], body: NDArray[np.bool_], shift: float, gate: Gate) -> float:
    """Return the share of these maps whose localisation the gate trusts."""
    if not len(maps):
        return float("nan")
    return float(np.mean([is_trusted(one, gate) for one in measures(maps, body, shift)]))
