"""Thresholds and bounds, against known values."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the lab needs scikit-learn: pip install 'dicom-node[lab]'")

from scipy.stats import binomtest, norm
from sklearn.metrics import roc_auc_score

from dicom_node.lab import calibrate, metrics


@pytest.mark.parametrize(("missed", "positives"), [(0, 59), (1, 93), (2, 124), (0, 29), (1, 46), (7, 132)])
def test_upper_bound_is_scipys_exact_one(missed: int, positives: int) -> None:
    # A one-sided bound at 95 % is the upper end of the two-sided interval at 90 %.
    wanted = binomtest(missed, positives).proportion_ci(0.90, method="exact").high
    assert calibrate.upper_bound(missed, positives, 0.95) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize(
    ("positives", "rate", "allowed"),
    [(58, 0.05, None), (59, 0.05, 0), (92, 0.05, 0), (93, 0.05, 1), (124, 0.05, 2), (28, 0.10, None), (29, 0.10, 0),
     (46, 0.10, 1), (61, 0.10, 2)],
)  # fmt: skip
def test_published_numbers_of_fractures_needed(positives: int, rate: float, allowed: int | None) -> None:
    assert calibrate.allowed_misses(positives, rate, 0.95) == allowed


def test_p_low_misses_as_many_as_allowed_and_no_more() -> None:
    random = np.random.default_rng(1)
    labels = np.repeat([True, False], [200, 800])
    p = np.where(labels, random.beta(3, 2, 1000), random.beta(1, 4, 1000))
    bound = calibrate.control_misses(p, labels, 0.10, 0.95)
    assert bound.certified
    assert bound.missed <= (calibrate.allowed_misses(200, 0.10, 0.95) or 0)
    assert bound.missed == int((p[labels] < bound.threshold).sum())
    assert bound.reached == pytest.approx(calibrate.upper_bound(bound.missed, 200, 0.95))


def test_too_few_fractures_certify_nothing() -> None:
    labels = np.repeat([True, False], [20, 80])
    bound = calibrate.control_misses(np.linspace(0.9, 0.1, 100), labels, 0.10, 0.95)
    assert not bound.certified
    assert bound.threshold == 0.0
    assert bound.reached == pytest.approx(calibrate.upper_bound(0, 20, 0.95))


def test_misses_that_crowd_in_one_group_lower_the_threshold() -> None:
    labels = np.ones(200, dtype=np.bool_)
    p = np.linspace(0.0, 1.0, 200)
    alone = np.array([f"g{index}" for index in range(200)])
    # The likeliest to be missed all belong to three groups of twenty; drawn again, two of them may come twice.
    crowded = np.array([f"g{index // 20}" for index in range(200)])
    by_image = calibrate.control_misses(p, labels, 0.10, 0.95)
    spread = calibrate.control_misses(p, labels, 0.10, 0.95, alone)
    bound = calibrate.control_misses(p, labels, 0.10, 0.95, crowded)
    assert spread.threshold <= by_image.threshold
    assert bound.threshold < spread.threshold
    assert bound.reached_by_group <= 0.10
    assert (spread.groups, bound.groups) == (200, 10)


@pytest.mark.parametrize("seed", range(5))
def test_the_bound_by_group_is_that_of_a_plain_bootstrap(seed: int) -> None:
    random = np.random.default_rng(seed)
    owners = random.integers(0, 12, 80).astype(str)
    missed = np.arange(80) < 6
    members = [np.flatnonzero(owners == one) for one in np.unique(owners)]
    rates = []
    for _ in range(4000):
        rows = np.concatenate([members[i] for i in random.integers(0, len(members), len(members))])
        rates.append(missed[rows].mean())
    ours = calibrate._bounds_by_group(owners, 6, 0.95)
    assert ours[6] == pytest.approx(np.quantile(rates, 0.95), abs=0.02)
    assert ours[0] == 0.0


def test_the_promise_holds_on_new_groups() -> None:
    """Over many draws of correlated groups, p_low misses more than was promised about one time in twenty or less."""
    random = np.random.default_rng(7)
    broken = 0
    for _ in range(200):
        shift = np.repeat(random.normal(0, 1.0, 60), 5)
        z = random.normal(1.5, 1.0, 300) + shift
        groups = np.repeat(np.arange(60), 5).astype(str)
        bound = calibrate.control_misses(1 / (1 + np.exp(-z)), np.ones(300, dtype=np.bool_), 0.10, 0.95, groups)
        limit = np.log(bound.threshold / (1 - bound.threshold)) if bound.threshold > 0 else -np.inf
        # The true miss rate: z is normal with variance 1 + 1.
        broken += bool(norm.cdf((limit - 1.5) / np.sqrt(2.0)) > 0.10)
    assert broken <= 20  # 5 % of 200 are 10; a bootstrap of 60 groups is a little too sure of itself


def test_precision_threshold_is_the_lowest_that_holds() -> None:
    labels = np.array([True, True, False, True, False, False])
    p = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    assert calibrate.precision_threshold(p, labels, 0.75, 1) == (0.6, 0.75)
    threshold, precision = calibrate.precision_threshold(p, labels, 0.99, 3)
    assert precision == pytest.approx(0.75)
    assert threshold == pytest.approx(0.6)


def test_platt_finds_the_scale_that_was_there() -> None:
    random = np.random.default_rng(2)
    z = random.normal(0, 4, 20000)
    labels = random.random(20000) < 1 / (1 + np.exp(-(0.5 * z - 1.0)))
    platt = calibrate.platt(z, labels)
    assert platt.a == pytest.approx(0.5, abs=0.03)
    assert platt.d == pytest.approx(-1.0, abs=0.06)
    assert metrics.calibration_error(labels, platt.probability(z)) < 0.02


def test_auc_is_scikit_learns_with_ties_too() -> None:
    random = np.random.default_rng(6)
    labels = random.random(500) < 0.2
    scores = np.round(labels + random.normal(0, 1, 500), 1)
    assert metrics.auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


def test_interval_by_group_is_wider_than_its_point() -> None:
    random = np.random.default_rng(3)
    groups = np.repeat(np.arange(30).astype(str), 10)
    labels = random.random(300) < 0.3
    scores = labels + random.normal(0, 1, 300)
    interval = metrics.group_interval(groups, labels, scores, metrics.auc, seed=1, draws=200)
    assert interval.low < metrics.auc(labels, scores) < interval.high
