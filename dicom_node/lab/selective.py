"""What abstaining buys: risk against coverage, and the figures of three outcomes. What is undefined is None.

A case is *accepted* (decided, confident) where the gate says positive or negative, and *abstained* where it says
inconclusive. Coverage is the accepted share of the analysed cases; images without any answer are counted elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dicom_node.core.findings import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class RiskCoverage:
    """One point a distinct confidence, from the most confident cases to all of them.

    coverage: share accepted. risk: mean loss among the accepted (selective risk). generalised: their loss as a share of
    all cases, which is the probability of an error that nobody is warned of.
    """

    coverage: NDArray[np.float64]
    risk: NDArray[np.float64]
    generalised: NDArray[np.float64]


def risk_coverage(confidence: NDArray[np.float64], loss: NDArray[np.float64]) -> RiskCoverage:
    """Return the risk-coverage curve; equally confident cases are accepted together, as a threshold would."""
    order = np.argsort(-confidence, kind="stable")
    n = len(order)
    lost = np.cumsum(loss[order].astype(np.float64))
    ranked = confidence[order]
    # The last of equals ends their tie.
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) if n else np.zeros(0, dtype=np.int64)
    accepted = last + 1.0
    return RiskCoverage(accepted / max(n, 1), lost[last] / accepted, lost[last] / max(n, 1))


def aurc(confidence: NDArray[np.float64], loss: NDArray[np.float64]) -> float | None:
    """Return the area under the risk-coverage curve, or None without cases (Geifman and El-Yaniv, NeurIPS 2017).

    The mean over all cases i of the mean loss among those at least as confident as i. Lower is better; random
    confidences give the error rate.
    """
    if not len(loss):
        return None
    curve = risk_coverage(confidence, loss)
    steps = np.diff(curve.coverage, prepend=0.0)
    return float((curve.risk * steps).sum())


def augrc(confidence: NDArray[np.float64], loss: NDArray[np.float64]) -> float | None:
    """Return the area under the generalised risk-coverage curve, or None without cases (Traub et al., NeurIPS 2024).

    The mean over all pairs (i, j) of loss(j) where j is more confident than i, and of half of it where they tie (the
    trapezoid rule from the origin). For errors of 0 and 1 it is (1 - AUROC_f) acc (1 - acc) + (1 - acc)^2 / 2, with
    AUROC_f how well confidence tells right from wrong. Between 0 and 1/2; random confidences give half the error rate.
    """
    if not len(loss):
        return None
    curve = risk_coverage(confidence, loss)
    steps = np.diff(curve.coverage, prepend=0.0)
    before = np.concatenate([[0.0], curve.generalised[:-1]])
    return float(((before + curve.generalised) / 2.0 * steps).sum())


def likelier(labels: NDArray[np.bool_], p: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the confidence of saying the likelier class, max(p, 1 - p), and its loss: 1 where that is wrong."""
    return np.maximum(p, 1.0 - p), ((p >= 0.5) != labels).astype(np.float64)  # noqa: PLR2004 - of two classes


@dataclass(frozen=True, slots=True)
class ThreeOutcomes:
    """What a gate did to labelled cases.

    accuracy, precision, recall and f1 are over the accepted cases. overall_accuracy counts an abstained case as wrong.
    found: fractures called positive, of all fractures. missed: those called negative, of all fractures. ppv_accepted is
    precision again, to stand beside ppv_abstained, the share of fractures among the abstained: a gate that abstains on
    the likelier cases has them the wrong way round.
    """

    cases: int
    fractured: int
    positive: int
    negative: int
    inconclusive: int
    coverage: float | None
    inconclusive_rate: float | None
    accuracy: float | None
    overall_accuracy: float | None
    precision: float | None
    recall: float | None
    f1: float | None
    npv: float | None
    found: float | None
    missed: float | None
    ppv_accepted: float | None
    ppv_abstained: float | None


def three_outcomes(outcomes: Sequence[Outcome], labels: NDArray[np.bool_]) -> ThreeOutcomes:
    """Return the figures of positive, negative and inconclusive outcomes; any other outcome is a mistake here."""
    if len(outcomes) != len(labels):
        message = f"{len(outcomes)} outcomes do not belong to {len(labels)} labels"
        raise ValueError(message)
    codes = np.array([_CODE[outcome] for outcome in outcomes], dtype=np.int64)
    return counted(codes, labels)


NEGATIVE, POSITIVE, INCONCLUSIVE = 0, 1, 2
_CODE = {Outcome.NEGATIVE: NEGATIVE, Outcome.POSITIVE: POSITIVE, Outcome.INCONCLUSIVE: INCONCLUSIVE}


def counted(codes: NDArray[np.int64], labels: NDArray[np.bool_]) -> ThreeOutcomes:
    """Return the same from codes: 0 negative, 1 positive, 2 inconclusive."""
    positive, negative, between = codes == POSITIVE, codes == NEGATIVE, codes == INCONCLUSIVE
    n, fractured = len(codes), int(labels.sum())
    right_positive, right_negative = int((positive & labels).sum()), int((negative & ~labels).sum())
    decided = int(positive.sum()) + int(negative.sum())
    if decided + int(between.sum()) != n:
        message = "an outcome code is none of 0, 1 and 2"
        raise ValueError(message)
    missed = int((negative & labels).sum())
    precision = ratio(right_positive, int(positive.sum()))
    return ThreeOutcomes(
        cases=n,
        fractured=fractured,
        positive=int(positive.sum()),
        negative=int(negative.sum()),
        inconclusive=int(between.sum()),
        coverage=ratio(decided, n),
        inconclusive_rate=ratio(int(between.sum()), n),
        accuracy=ratio(right_positive + right_negative, decided),
        overall_accuracy=ratio(right_positive + right_negative, n),
        precision=precision,
        recall=ratio(right_positive, right_positive + missed),
        f1=ratio(2 * right_positive, int(positive.sum()) + right_positive + missed),
        npv=ratio(right_negative, int(negative.sum())),
        found=ratio(right_positive, fractured),
        missed=ratio(missed, fractured),
        ppv_accepted=precision,
        ppv_abstained=ratio(int((between & labels).sum()), int(between.sum())),
    )


def ppv_of_likeliest(p: NDArray[np.float64], labels: NDArray[np.bool_], count: int) -> float | None:
    """Return the share of fractures among the `count` likeliest cases: what probability alone gives at that count."""
    chosen = np.argsort(-p, kind="stable")[:count]
    return ratio(int(labels[chosen].sum()), len(chosen))


def ratio(part: int, whole: int) -> float | None:
    """Return part / whole, or None where there is nothing to divide by."""
    return part / whole if whole else None
