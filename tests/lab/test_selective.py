"""Risk against coverage, against the definitions written out pair by pair, and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the lab needs scikit-learn: pip install 'dicom-node[lab]'")

from sklearn.metrics import precision_recall_fscore_support, roc_auc_score

from dicom_node.core.findings import Outcome
from dicom_node.lab import selective


def _cases(seed: int, *, ties: bool) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    confidence = random.random(150)
    if ties:
        confidence = np.round(confidence, 1)
    loss = (random.random(150) > 0.4 + 0.5 * confidence).astype(np.float64)
    return confidence, loss


def _aurc_by_definition(confidence: np.ndarray, loss: np.ndarray) -> float:
    return float(np.mean([loss[confidence >= limit].mean() for limit in confidence]))


def _augrc_by_definition(confidence: np.ndarray, loss: np.ndarray) -> float:
    n, total = len(loss), 0.0
    for i in range(n):
        for j in range(n):
            share = 1.0 if confidence[j] > confidence[i] else 0.5 if confidence[j] == confidence[i] else 0.0
            total += share * loss[j]
    return total / n**2


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_areas_are_their_definitions(seed: int, ties: bool) -> None:  # noqa: FBT001 - a parameter of the test
    confidence, loss = _cases(seed, ties=ties)
    assert selective.aurc(confidence, loss) == pytest.approx(_aurc_by_definition(confidence, loss), abs=1e-12)
    assert selective.augrc(confidence, loss) == pytest.approx(_augrc_by_definition(confidence, loss), abs=1e-12)


@pytest.mark.parametrize("ties", [False, True])
def test_augrc_is_the_closed_form_of_its_paper(ties: bool) -> None:  # noqa: FBT001 - a parameter of the test
    confidence, loss = _cases(9, ties=ties)
    accuracy = 1.0 - loss.mean()
    failure_auc = roc_auc_score(1.0 - loss, confidence)
    wanted = (1.0 - failure_auc) * accuracy * (1.0 - accuracy) + (1.0 - accuracy) ** 2 / 2.0
    assert selective.augrc(confidence, loss) == pytest.approx(wanted, abs=1e-12)


def test_small_known_cases() -> None:
    confidence = np.array([0.9, 0.8, 0.7, 0.6])
    good = np.array([0.0, 0.0, 0.0, 1.0])
    assert selective.aurc(confidence, good) == pytest.approx(0.25 / 4)
    assert selective.aurc(confidence, good[::-1]) == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4)
    assert selective.augrc(confidence, good) == pytest.approx(0.5 / 16)
    assert selective.augrc(confidence, good[::-1]) == pytest.approx(3.5 / 16)
    same = np.full(4, 0.5)
    assert selective.aurc(same, good) == pytest.approx(0.25)
    assert selective.augrc(same, good) == pytest.approx(0.125)
    assert selective.aurc(confidence, np.zeros(4)) == selective.augrc(confidence, np.zeros(4)) == 0.0


def test_curve_ends_at_everything_and_ties_stand_or_fall_together() -> None:
    curve = selective.risk_coverage(np.array([0.5, 0.9, 0.5, 0.1]), np.array([1.0, 0.0, 0.0, 1.0]))
    assert curve.coverage.tolist() == [0.25, 0.75, 1.0]
    assert curve.risk == pytest.approx([0.0, 1 / 3, 0.5])
    assert curve.generalised == pytest.approx([0.0, 0.25, 0.5])


def test_three_outcomes_by_hand_and_by_scikit_learn() -> None:
    random = np.random.default_rng(3)
    labels = random.random(200) < 0.3
    outcomes = [
        [Outcome.NEGATIVE, Outcome.POSITIVE, Outcome.INCONCLUSIVE][i] for i in random.integers(0, 3, 200).tolist()
    ]
    found = selective.three_outcomes(outcomes, labels)
    decided = np.array([outcome is not Outcome.INCONCLUSIVE for outcome in outcomes])
    called = np.array([outcome is Outcome.POSITIVE for outcome in outcomes])
    precision, recall, f1, _ = precision_recall_fscore_support(labels[decided], called[decided], average="binary")
    assert (found.precision, found.recall, found.f1) == pytest.approx((precision, recall, f1))
    assert found.accuracy == pytest.approx((labels[decided] == called[decided]).mean())
    assert found.overall_accuracy == pytest.approx((labels[decided] == called[decided]).sum() / 200)
    assert found.coverage == pytest.approx(decided.mean())
    assert found.inconclusive_rate == pytest.approx(1 - decided.mean())
    assert found.ppv_accepted == found.precision
    assert found.ppv_abstained == pytest.approx(labels[~decided].mean())
    assert found.found == pytest.approx(called[labels].mean())
    assert found.positive + found.negative + found.inconclusive == found.cases == 200


def test_what_is_undefined_is_none() -> None:
    empty = np.zeros(0)
    assert selective.aurc(empty, empty) is None
    assert selective.augrc(empty, empty) is None
    nothing = selective.three_outcomes([], np.zeros(0, dtype=bool))
    assert nothing.coverage is nothing.accuracy is nothing.precision is nothing.recall is nothing.f1 is None
    abstained = selective.three_outcomes([Outcome.INCONCLUSIVE] * 3, np.array([True, False, True]))
    assert abstained.coverage == 0.0
    assert abstained.accuracy is abstained.precision is abstained.f1 is None
    assert abstained.overall_accuracy == 0.0
    assert abstained.ppv_abstained == pytest.approx(2 / 3)
    healthy = selective.three_outcomes([Outcome.NEGATIVE], np.array([False]))
    assert healthy.precision is healthy.recall is healthy.found is healthy.f1 is None
    assert selective.ppv_of_likeliest(np.array([0.1]), np.array([True]), 0) is None


def test_probability_alone_at_the_same_number_of_calls() -> None:
    p, labels = np.array([0.2, 0.9, 0.8, 0.1]), np.array([True, True, False, False])
    assert selective.ppv_of_likeliest(p, labels, 1) == 1.0
    assert selective.ppv_of_likeliest(p, labels, 3) == pytest.approx(2 / 3)


def test_mismatched_or_unanalysed_cases_are_refused() -> None:
    with pytest.raises(ValueError, match="1 outcomes do not belong to 2 labels"):
        selective.three_outcomes([Outcome.POSITIVE], np.array([True, False]))
    with pytest.raises(KeyError):
        selective.three_outcomes([Outcome.NOT_ANALYSED], np.array([True]))
    with pytest.raises(ValueError, match="none of 0, 1 and 2"):
        selective.counted(np.array([3]), np.array([True]))
