from __future__ import annotations

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest

from dicom_node.core.radiograph import EvidenceMap, InputGeometry
from dicom_node.inference import head
from dicom_node.inference.bundle import Head
from dicom_node.inference.evidence import REGIONS_MAX, cell_centre, evidence_map, localiser_map, peak_cell, regions

# 8 x 8 cells of 10 input pixels; the image is 40 x 80 pixels, doubled and with 20 input pixels of padding on the left.
GEOMETRY = InputGeometry(40, 30, 80, 80, 2.0, 2.0, 0.0, 20.0)


def shown(cells: dict[tuple[int, int], float], body: np.ndarray | None = None) -> EvidenceMap:
    values = np.full((8, 8), -1.0, dtype=np.float32)
    for cell, value in cells.items():
        values[cell] = value
    return EvidenceMap(values, np.ones((8, 8), dtype=np.bool_) if body is None else body, GEOMETRY, "evidence")


@pytest.mark.parametrize(
    ("grid", "pool", "channels"), [((8, 8), 4, 96), ((8, 8), 5, 1376), ((1, 1), 7, 16), ((2, 3), 1, 5)]
)
def test_the_map_and_the_bias_sum_to_the_logit(grid, pool, channels) -> None:
    generator = np.random.default_rng(3)
    features = generator.normal(0, 3, (grid[0] * pool, grid[1] * pool, channels)).astype(np.float32)
    weight = generator.normal(0, 0.1, (*grid, channels)).astype(np.float32)
    z = head.logit(features, Head(weight, 1.5, None, 0.0), pool)
    values = evidence_map(features, Head(weight, 1.5, None, 0.0), pool)
    assert values.shape == features.shape[:2]
    assert values.dtype == np.float32
    assert float(values.sum(dtype=np.float64)) + 1.5 == pytest.approx(z, abs=1e-4)
    pooled = features.reshape(grid[0], pool, grid[1], pool, channels).mean(axis=(1, 3))
    assert z == pytest.approx(float((pooled * weight).sum()) + 1.5, abs=1e-2)


@pytest.mark.parametrize("pool", [1, 4, 5])
def test_neither_score_nor_map_makes_a_second_copy_of_the_features(pool: int) -> None:
    features = np.ones((8 * pool, 8 * pool, 1376), dtype=np.float32)
    head_ = Head(np.ones((8, 8, 1376), dtype=np.float32), 0.0, None, 0.0)
    for work in (lambda: head.logit(features, head_, pool), lambda: evidence_map(features, head_, pool)):
        tracemalloc.start()
        work()
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert most < 0.9 * features.nbytes


def test_the_localiser_is_a_signed_logit() -> None:
    features = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    weight = np.array([1, 0, -1], dtype=np.float32)
    values = localiser_map(features, Head(np.zeros((2, 2, 3), dtype=np.float32), 0.0, weight, 0.5))
    assert values is not None
    assert values.tolist() == [[-1.5, -1.5], [-1.5, -1.5]]
    assert localiser_map(features, Head(np.zeros((2, 2, 3), dtype=np.float32), 0.0, None, 0.0)) is None


def test_probability_does_not_overflow() -> None:
    assert head.probability(0.0, 1.0, 0.0) == 0.5
    assert head.probability(1e6, 1.0, 0.0) == 1.0
    assert head.probability(-1e6, 1.0, 0.0) == 0.0
    assert head.probability(1.0, 2.0, -1.0) == pytest.approx(1 / (1 + np.exp(-1)))


def test_a_cell_s_centre_lies_in_the_image() -> None:
    assert cell_centre((2, 4), (8, 8), GEOMETRY) == (12.5, 12.5)


def test_the_peak_is_the_strongest_cell_on_the_body_even_below_nought() -> None:
    body = np.ones((8, 8), dtype=np.bool_)
    body[0] = False
    assert peak_cell(shown({(0, 0): 9.0, (3, 4): 1.0}, body)) == (3, 4)
    assert peak_cell(shown({(3, 4): -0.5}, body)) == (3, 4)
    assert peak_cell(shown({(0, 1): 1.0}, np.zeros((8, 8), dtype=np.bool_))) == (0, 1)


def test_one_cell_is_outlined_along_its_edges_in_image_pixels() -> None:
    (region,) = regions(shown({(2, 4): 1.0}), 0.5)
    assert region.points == ((10.0, 10.0), (15.0, 10.0), (15.0, 15.0), (10.0, 15.0), (10.0, 10.0))


def test_an_l_shape_has_six_corners_and_is_closed() -> None:
    (region,) = regions(shown({(2, 4): 1.0, (3, 4): 0.9, (3, 5): 0.8}), 0.5)
    assert region.points[0] == region.points[-1]
    assert len(set(region.points)) == 6
    assert _area(region.points) == pytest.approx(3 * 25.0)


def test_cells_that_touch_at_a_corner_are_two_regions_the_strongest_first() -> None:
    first, second = regions(shown({(2, 3): 0.6, (3, 4): 1.0}), 0.5)
    assert first.points[0] == (10.0, 15.0)
    assert second.points[0] == (5.0, 10.0)


def test_a_ring_is_outlined_on_the_outside() -> None:
    ring = {(row, column): 1.0 for row in range(2, 5) for column in range(3, 6) if (row, column) != (3, 4)}
    (region,) = regions(shown(ring), 0.5)
    assert _area(region.points) == pytest.approx(9 * 25.0)


def test_every_shape_is_outlined_with_the_area_of_its_cells() -> None:
    generator = np.random.default_rng(1)
    for _ in range(50):
        values = generator.random((8, 8)).astype(np.float32)
        body = np.zeros((8, 8), dtype=np.bool_)
        body[:, 2:] = True
        for region in regions(EvidenceMap(values, body, GEOMETRY, "evidence"), 0.6):
            assert region.points[0] == region.points[-1]
            assert _area(region.points) >= 25.0
            assert all(0 <= x <= 30 and 0 <= y <= 40 for x, y in region.points)


def test_at_most_three_regions_above_alpha_and_on_the_body_only() -> None:
    scattered = {(row, column): 1.0 for row in (0, 2, 4, 6) for column in (2, 4, 6)}
    assert len(regions(shown(scattered), 0.5)) == REGIONS_MAX
    assert len(regions(shown({(2, 2): 1.0, (2, 4): 0.49}), 0.5)) == 1
    assert regions(shown({(2, 2): 1.0}, np.zeros((8, 8), dtype=np.bool_)), 0.5) == ()
    assert regions(shown({}), 0.5) == ()


def _area(points: tuple[tuple[float, float], ...]) -> float:
    return abs(sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in pairwise(points))) / 2
