from __future__ import annotations

import numpy as np
import pytest

from dicom_node.core.localisation import measure

BODY = np.ones((8, 8), dtype=np.bool_)


def plane(**cells: float) -> np.ndarray:
    values = np.full((8, 8), -1.0, dtype=np.float32)
    for name, value in cells.items():
        values[int(name[1]), int(name[2])] = value
    return values


def test_one_cell_has_no_entropy_and_an_even_map_has_it_all() -> None:
    assert measure(plane(c34=2.0), BODY, 0.5).entropy == 0.0
    assert measure(np.ones((8, 8), dtype=np.float32), BODY, 0.5).entropy == pytest.approx(1.0)


def test_two_equal_cells_have_the_entropy_of_a_coin() -> None:
    assert measure(plane(c34=1.0, c35=1.0), BODY, 0.5).entropy == pytest.approx(np.log(2) / np.log(64))


def test_area_counts_body_cells_from_alpha_times_the_maximum() -> None:
    measures = measure(plane(c34=1.0, c35=0.5, c36=0.49), BODY, 0.5)
    assert measures.area == pytest.approx(2 / 64)
    assert measures.peak == (3, 4)


def test_evidence_outside_the_body_is_a_share_and_never_the_peak() -> None:
    body = BODY.copy()
    body[0] = False
    measures = measure(plane(c00=3.0, c34=1.0), body, 0.5)
    assert measures.out_of_body == pytest.approx(0.75)
    assert measures.peak == (3, 4)
    assert measures.complete


def test_negative_evidence_counts_for_nothing() -> None:
    assert measure(plane(c34=1.0), BODY, 0.5) == measure(np.maximum(plane(c34=1.0), -0.1), BODY, 0.5)


@pytest.mark.parametrize(("cell", "expected"), [("c00", True), ("c70", True), ("c47", True), ("c11", False)])
def test_a_peak_on_the_grid_s_edge_is_on_the_border(cell, expected) -> None:
    assert measure(plane(**{cell: 1.0}), BODY, 0.5).on_border is expected


def test_a_map_with_nothing_positive_on_the_body_is_incomplete() -> None:
    assert not measure(plane(), BODY, 0.5).complete
    outside = measure(plane(c34=1.0), np.zeros((8, 8), dtype=np.bool_), 0.5)
    assert not outside.complete
    assert outside.out_of_body == 1.0
