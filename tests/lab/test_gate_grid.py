"""The published rule, line for line, and its grid."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the lab needs scikit-learn: pip install 'dicom-node[lab]'")

from dicom_node.core.localisation import measure
from dicom_node.lab import gate_grid, selective
from dicom_node.lab.gate_grid import Rule
from dicom_node.lab.runs import LabError


def _maps(count: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (count, 7, 7)).astype(np.float32)


def _published(p: float, raw: np.ndarray, rule: Rule) -> int:
    """Return the outcome as the publication describes it, one image at a time."""
    if p < rule.p_low:
        return 0
    cam = np.maximum(raw, 0).astype(np.float64)
    cam = cam - cam.min()
    cam = cam / (cam.max() + 1e-8)
    share = cam / (cam.sum() + 1e-8)
    entropy = -sum(value * math.log(value + 1e-8) for value in share.ravel())
    area = sum(value > rule.alpha * cam.max() for value in cam.ravel()) / cam.size
    confident = entropy <= rule.entropy_max and (rule.area_max is None or area <= rule.area_max)
    return 1 if confident else 2


@pytest.mark.parametrize(
    "rule", [Rule(), Rule(0.26, 3.0, 0.2, 0.5), Rule(0.18, 2.6, 0.15, 0.3), Rule(0.5, 3.8, None, 0.7)]
)
def test_rule_is_the_published_one(rule: Rule) -> None:
    maps = _maps(200) ** 3
    p = np.random.default_rng(2).random(200)
    codes = gate_grid.decide(p, gate_grid.focus(maps, (rule.alpha,)), rule)
    assert codes.tolist() == [_published(value, raw, rule) for value, raw in zip(p, maps, strict=True)]


def test_defaults_are_the_published_ones() -> None:
    assert Rule() == Rule(p_low=0.22, entropy_max=1.5, area_max=None, alpha=0.5)


def test_measures_are_the_serving_ones_but_for_the_unit_and_the_strict_area() -> None:
    maps = _maps(20)
    found = gate_grid.focus(maps, (0.5,))
    everywhere = np.ones((7, 7), dtype=np.bool_)
    for index, raw in enumerate(maps):
        ours = measure(raw, everywhere, 0.5)
        assert found.entropy[index] == pytest.approx(ours.entropy * math.log(49), abs=1e-4)
        assert found.area[index, 0] == pytest.approx(ours.area)  # no cell lies exactly at half


def test_entropy_of_one_cell_is_none_and_of_half_the_grid_its_logarithm() -> None:
    one = np.zeros((7, 7), dtype=np.float32)
    one[3, 4] = 5.0
    many = np.zeros((7, 7), dtype=np.float32)
    many.ravel()[:24] = 2.0
    found = gate_grid.focus(np.stack([one, many]), (0.5, 0.7))
    assert found.entropy == pytest.approx([0.0, math.log(24)], abs=1e-4)
    assert found.area.tolist() == [[pytest.approx(1 / 49)] * 2, [pytest.approx(24 / 49)] * 2]


def test_a_map_without_anything_counts_as_focused_as_it_does_in_the_original() -> None:
    nothing = np.stack([np.full((7, 7), -1.0), np.zeros((7, 7)), np.full((7, 7), 3.0)]).astype(np.float32)
    found = gate_grid.focus(nothing, (0.5,))
    assert found.entropy.tolist() == [0.0, 0.0, 0.0]
    assert gate_grid.decide(np.full(3, 0.9), found, Rule(area_max=0.15)).tolist() == [1, 1, 1]


@pytest.fixture(scope="module")
def cells() -> tuple[gate_grid.Cell, ...]:
    random = np.random.default_rng(4)
    labels = random.random(300) < 0.4
    p = np.clip(random.normal(0.25 + 0.3 * labels, 0.2), 0, 1)
    return gate_grid.grid(p, _maps(300, seed=5) ** 3, labels)


def test_grid_has_the_published_625_cells_in_order(cells: tuple[gate_grid.Cell, ...]) -> None:
    assert len({cell.rule for cell in cells}) == len(cells) == 625
    assert cells[0].rule == Rule(0.18, 2.2, None, 0.3)
    assert cells[1].rule == Rule(0.18, 2.2, None, 0.4)
    assert cells[-1].rule == Rule(0.26, 3.8, 0.15, 0.7)
    for cell in cells:
        assert cell.figures.positive + cell.figures.negative + cell.figures.inconclusive == 300
    assert len({cell.figures.inconclusive for cell in cells}) > 10


def test_most_accurate_cell_is_the_best_by_hand(cells: tuple[gate_grid.Cell, ...]) -> None:
    best = gate_grid.most_accurate(cells).figures
    assert best.accuracy == max(cell.figures.accuracy or 0 for cell in cells)


def test_recall_leaning_cell_keeps_to_its_share_and_no_other_has_a_better_f2(cells: tuple[gate_grid.Cell, ...]) -> None:
    chosen = gate_grid.recall_leaning(cells, 0.4)
    fit = [cell for cell in cells if (cell.figures.inconclusive_rate or 0) <= 0.4]
    assert chosen in fit
    assert gate_grid.f2(chosen.figures) == max(gate_grid.f2(cell.figures) for cell in fit)
    with pytest.raises(LabError, match=r"every cell of the grid abstains on more than -100%"):
        gate_grid.recall_leaning(cells, -1.0)


def test_f2_over_all_fractures_does_not_reward_abstaining() -> None:
    labels = np.array([True, True, False, False])
    decided = selective.counted(np.array([1, 0, 0, 0]), labels)
    abstained = selective.counted(np.array([1, 2, 0, 0]), labels)
    assert abstained.recall == 1.0 > (decided.recall or 0.0)
    assert gate_grid.f2(abstained) == gate_grid.f2(decided) == pytest.approx(5 / 9)
