"""Thresholds, calibration and its error, held against MAPIE and scikit-learn on random data.

MAPIE has no risk-coverage curve, AURC or AUGRC to compare with (1.6); `test_selective.py` holds ours against their
definitions written out pair by pair, and against the closed form of the AUGRC paper.
"""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the lab needs scikit-learn: pip install 'dicom-node[lab]'")
pytest.importorskip("mapie", reason="this comparison needs MAPIE: pip install 'dicom-node[dev]'")

from mapie.metrics.calibration import expected_calibration_error
from mapie.risk_control import BinaryClassificationController, control_fwer
from mapie.risk_control._base_controller import ltt_procedure
from mapie.risk_control.methods import compute_hoeffding_bentkus_p_value
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV, _SigmoidCalibration
from sklearn.frozen import FrozenEstimator

from dicom_node.lab import calibrate, evaluation_measures, metrics

SEEDS = range(6)


def _scores(seed: int, n: int = 900, share: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """Return distinct probabilities of four decimals, as thresholds are kept, and labels."""
    random = np.random.default_rng(seed)
    labels = random.random(n) < share
    wanted = np.where(labels, random.beta(3, 1.5, n), random.beta(1.2, 4, n))
    # Ranks spread over 0.0001 .. 0.9999 without ties, as evenly as the beta draws lie.
    steps = np.unique(np.round(np.sort(wanted) * 9000).astype(int) + np.arange(1, n + 1))
    p = np.empty(n)
    p[np.argsort(wanted, kind="stable")] = steps / 1e4
    return p, labels


@pytest.mark.parametrize("rate", [0.02, 0.05, 0.10, 0.2])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_allowed_misses_are_those_with_a_small_p_value(rate: float, confidence: float) -> None:
    """For a loss of 0 and 1 the smaller of MAPIE's Hoeffding and Bentkus p-values is the exact binomial one.

    The empirical risk is handed over a hair low: MAPIE rounds n * risk up, and 49 * (k / 49) may lie above k.
    """
    for n in (10, 29, 59, 93, 124, 400):
        missed = np.arange(n)
        p_values = compute_hoeffding_bentkus_p_value(np.maximum(missed - 1e-6, 0.0) / n, n, rate, binary=True)[:, 0]
        rejected = control_fwer(p_values, 1.0 - confidence, fwer_method="fixed_sequence")
        wanted = int(rejected[-1]) if len(rejected) else None
        assert calibrate.allowed_misses(n, rate, confidence) == wanted
        bounds = np.array([calibrate.upper_bound(int(k), n, confidence) for k in missed])
        assert np.array_equal(bounds <= rate, p_values <= 1.0 - confidence)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("rate", [0.05, 0.10])
def test_p_low_is_the_highest_threshold_of_learn_then_test(seed: int, rate: float) -> None:
    p, labels = _scores(seed)
    thresholds = np.sort(p[labels])
    n = len(thresholds)
    risk = (np.arange(n) - 1e-6).clip(0.0)[None] / n  # a hair low, as above
    (valid,), _ = ltt_procedure(risk, np.array([[rate]]), 0.05, np.full((1, n), n), True, "fixed_sequence")  # noqa: FBT003 - binary
    theirs = float(thresholds[max(valid)])
    ours = calibrate.control_misses(p, labels, rate, 0.95)
    assert ours.certified
    # Ours is rounded down to four decimals, which binary fractions may take one step further.
    assert theirs - 1.01e-4 <= ours.threshold <= theirs
    assert ours.missed == int((thresholds < theirs).sum())


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("rate", [0.05, 0.10])
def test_p_low_is_that_of_mapies_controller_or_one_fracture_beyond(seed: int, rate: float) -> None:
    """The controller hands its risk over as it is: where n * risk is a hair above k, it counts k + 1 misses."""
    p, labels = _scores(seed)
    thresholds = np.sort(p[labels])
    controller = BinaryClassificationController(
        lambda x: np.column_stack([1.0 - x[:, 0], x[:, 0]]),
        risk="recall",
        target_level=1.0 - rate,
        confidence_level=0.95,
        list_predict_params=thresholds,
        fwer_method="fixed_sequence",
    ).calibrate(p[:, None], labels.astype(int))
    theirs = int((thresholds < np.max(controller.valid_predict_params)).sum())
    assert calibrate.control_misses(p, labels, rate, 0.95).missed - theirs in {0, 1}


@pytest.mark.parametrize("seed", SEEDS)
def test_what_mapie_cannot_certify_neither_can_we(seed: int) -> None:
    """With 40 fractures a miss rate of 5 % at 95 % cannot be certified (59 are needed): both find no threshold."""
    p, labels = _scores(seed, n=400, share=0.1)
    labels &= np.cumsum(labels) <= 40
    n = int(labels.sum())
    thresholds = np.sort(p[labels])
    missed = np.arange(n)
    p_values = compute_hoeffding_bentkus_p_value(missed / n, n, 0.05, binary=True)[:, 0]
    assert len(thresholds) <= 40
    assert len(control_fwer(p_values, 0.05, fwer_method="fixed_sequence")) == 0
    bound = calibrate.control_misses(p, labels, 0.05, 0.95)
    assert not bound.certified
    assert bound.threshold == 0.0


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("bins", [5, 10])
def test_calibration_error_over_bins_of_equal_mass_is_mapies(seed: int, bins: int) -> None:
    """MAPIE's "array split" makes bins of equal mass where the scores come in order, which it leaves to its caller."""
    p, labels = _scores(seed)
    order = np.argsort(p)
    wanted = expected_calibration_error(
        labels[order].astype(int), p[order], num_bins=bins, split_strategy="array split"
    )
    assert metrics.calibration_error(labels, p, bins) == pytest.approx(float(wanted), abs=1e-12)


class _AsItIs(ClassifierMixin, BaseEstimator):
    """A fitted classifier whose decision function is its only feature."""

    classes_ = np.array([0, 1])

    def fit(self, *_: object) -> _AsItIs:
        return self

    def decision_function(self, x: np.ndarray) -> np.ndarray:
        return x[:, 0]

    def predict(self, x: np.ndarray) -> np.ndarray:
        return (x[:, 0] > 0).astype(int)

    def __sklearn_is_fitted__(self) -> bool:
        return True


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("fit", [calibrate.platt, lambda z, y: evaluation_measures.fit_calibration("platt", z, y)])
def test_platt_is_scikit_learns(seed: int, fit: object) -> None:
    """Platt pulled the targets 0 and 1 inwards by 1 / (n + 2), and scikit-learn follows him; we fit the labels.

    With every image counted ten thousand times over the pull vanishes and the two are one; counted once, it stays
    smaller than the intervals of any figure here.
    """
    p, labels = _scores(seed)
    z = 3.0 * np.log(p / (1.0 - p)) + 0.7
    ours = fit(z, labels)
    theirs = _SigmoidCalibration().fit(z, labels.astype(int), np.full(len(z), 1e4))
    assert ours.probability(z) == pytest.approx(theirs.predict(z), abs=1e-4)
    whole = CalibratedClassifierCV(FrozenEstimator(_AsItIs()), method="sigmoid", ensemble=False)
    whole.fit(z[:, None], labels.astype(int))
    assert ours.probability(z) == pytest.approx(whole.predict_proba(z[:, None])[:, 1], abs=0.02)
