"""The population stability index: nothing for the same, more for more."""

from __future__ import annotations

from math import log

import pytest

from dicom_node.core.drift import stability_index

REFERENCE = [number / 1000 for number in range(1000)]


def test_the_same_has_not_moved():
    assert stability_index(REFERENCE, REFERENCE) == 0.0


def test_a_known_move_has_its_index():
    # All of the recent scores lie in the upper half: five deciles with a fifth each, five with (nearly) none.
    recent = [0.5 + number / 2000 for number in range(1000)]
    expected = 5 * (0.2 - 0.1) * log(0.2 / 0.1) + 5 * (1e-4 - 0.1) * log(1e-4 / 0.1)
    assert stability_index(REFERENCE, recent) == pytest.approx(expected, abs=0.02)


def test_a_further_move_is_a_larger_index():
    moved = [stability_index(REFERENCE, [score**power for score in REFERENCE]) for power in (1.0, 1.3, 2.0, 4.0)]
    assert moved == sorted(moved)
    assert moved[1] < 0.1
    assert moved[3] > 0.25


def test_scores_that_are_all_alike_are_one_bin():
    assert stability_index([0.3] * 500, [0.3] * 100) == pytest.approx(0.0)


def test_nothing_cannot_be_compared():
    with pytest.raises(ValueError, match="both sides"):
        stability_index(REFERENCE, [])
