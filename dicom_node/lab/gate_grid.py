"""The published two-step rule, exactly, and its grid of 625 cells (kmarsh423/Fracture-Detection-Hybrid-Model).

p < p_low: negative. Else, where the Grad-CAM map is "focused" (entropy and area small): positive. Else inconclusive.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from dicom_node.lab import selective
from dicom_node.lab.runs import LabError
from dicom_node.lab.selective import INCONCLUSIVE, NEGATIVE, POSITIVE, ThreeOutcomes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_TINY: Final = np.float32(1e-8)
P_LOWS: Final = (0.18, 0.20, 0.22, 0.24, 0.26)
ENTROPY_MAXES: Final = (2.2, 2.6, 3.0, 3.4, 3.8)
AREA_MAXES: Final[tuple[float | None, ...]] = (None, 0.30, 0.25, 0.20, 0.15)
ALPHAS: Final = (0.3, 0.4, 0.5, 0.6, 0.7)
"""The published grid: five values of each, 625 cells."""


@dataclass(frozen=True, slots=True)
class Rule:
    """The published rule and its published defaults; entropy in nats on the native grid, area_max None is no bound."""

    p_low: float = 0.22
    entropy_max: float = 1.5
    area_max: float | None = None
    alpha: float = 0.5


@dataclass(frozen=True, slots=True)
class Focus:
    """What the rule asks of a map: entropy in nats [n], and for each alpha the share of cells above it [n, alphas]."""

    entropy: NDArray[np.float64]
    area: NDArray[np.float64]
    alphas: tuple[float, ...]


def focus(maps: NDArray[np.float32], alphas: Sequence[float]) -> Focus:
    """Measure raw Grad-CAM maps [n, rows, columns] as published, on all cells of the native grid in float32.

    cam = relu(map), less its minimum, over its maximum; P = cam / sum(cam); entropy = -sum(P ln P); area = share of
    cells strictly above alpha * max(cam), each denominator and logarithm with 1e-8 added. It follows that a map without
    any positive cell has entropy 0 and area 0: the rule takes it for perfectly focused.
    """
    flat = np.maximum(maps.reshape(len(maps), -1), np.float32(0.0)).astype(np.float32)
    flat = flat - flat.min(axis=1, keepdims=True)
    flat = flat / (flat.max(axis=1, keepdims=True) + _TINY)
    share = flat / (flat.sum(axis=1, keepdims=True) + _TINY)
    entropy = -(share * np.log(share + _TINY)).sum(axis=1)
    tops = flat.max(axis=1, keepdims=True)
    area = np.stack([(flat > np.float32(alpha) * tops).mean(axis=1) for alpha in alphas], axis=1)
    return Focus(entropy.astype(np.float64), area.astype(np.float64), tuple(alphas))


def decide(p: NDArray[np.float64], measured: Focus, rule: Rule) -> NDArray[np.int64]:
    """Return the rule's outcome of each case: 0 negative, 1 positive, 2 inconclusive."""
    confident = measured.entropy <= rule.entropy_max
    if rule.area_max is not None:
        confident = confident & (measured.area[:, measured.alphas.index(rule.alpha)] <= rule.area_max)
    return np.where(p < rule.p_low, NEGATIVE, np.where(confident, POSITIVE, INCONCLUSIVE)).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of the grid: a rule and what it did."""

    rule: Rule
    figures: ThreeOutcomes


def grid(
    p: NDArray[np.float64],
    maps: NDArray[np.float32],
    labels: NDArray[np.bool_],
    p_lows: Sequence[float] = P_LOWS,
    entropy_maxes: Sequence[float] = ENTROPY_MAXES,
) -> tuple[Cell, ...]:
    """Return every cell of the grid, in the published order; areas and alphas are the published ones."""
    measured = focus(maps, ALPHAS)
    rules = itertools.product(p_lows, entropy_maxes, AREA_MAXES, ALPHAS)
    return tuple(
        Cell(rule, selective.counted(decide(p, measured, rule), labels)) for rule in (Rule(*one) for one in rules)
    )


def most_accurate(cells: Sequence[Cell]) -> Cell:
    """Return the cell that the publication puts first: the best accuracy on decided cases, then the best coverage."""
    return max(cells, key=lambda cell: (cell.figures.accuracy or 0.0, cell.figures.coverage or 0.0))


def recall_leaning(cells: Sequence[Cell], inconclusive_max: float) -> Cell:
    """Return the cell with the best F2 over *all* fractures that abstains on at most this share of the cases.

    F2 weighs recall twice as much as precision. Recall is taken over all fractures (an abstained one is not found):
    over the decided ones alone, a rule could raise it by abstaining. Ties go to the better coverage, then accuracy.
    """
    fit = [cell for cell in cells if (cell.figures.inconclusive_rate or 0.0) <= inconclusive_max]
    if not fit:
        least = min(cell.figures.inconclusive_rate or 0.0 for cell in cells)
        message = (
            f"every cell of the grid abstains on more than {inconclusive_max:.0%} of the cases (least: {least:.0%})"
        )
        raise LabError(message)
    return max(fit, key=lambda cell: (f2(cell.figures), cell.figures.coverage or 0.0, cell.figures.accuracy or 0.0))


def f2(figures: ThreeOutcomes) -> float:
    """Return F2 over all fractures: 5 TP / (5 TP + 4 (fractures not called positive) + false alarms)."""
    hit = round((figures.found or 0.0) * figures.fractured)
    missed, alarms = figures.fractured - hit, figures.positive - hit
    whole = 5 * hit + 4 * missed + alarms
    return 5 * hit / whole if whole else 0.0
