"""Both policies side by side: fitted on one half of the groups, proved on the other; and views made into studies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from dicom_node.core.decision import Gate, Policy, aggregate, decide_view
from dicom_node.core.findings import Outcome, ViewFinding
from dicom_node.core.localisation import MapMeasures, measure
from dicom_node.lab import calibrate, dataset, gate_grid, metrics, selective
from dicom_node.lab.gate_grid import Cell, Rule
from dicom_node.lab.runs import LabError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicom_node.lab.calibrate import Platt, RiskBound
    from dicom_node.lab.selective import ThreeOutcomes

ALPHA: Final = 0.5
DISAGREEMENT: Final = 0.6
"""Views of one study further apart than this in probability are told as a disagreement."""
_NOWHERE_MAX: Final = 0.1


@dataclass(frozen=True, slots=True)
class Cases:
    """Held-out images, row for row: z [n], maps [n, rows, columns] and body cells of the same shape.

    regions: one name, several joined by "+", or none.
    """

    labels: NDArray[np.bool_]
    groups: NDArray[np.str_]
    studies: NDArray[np.str_]
    regions: NDArray[np.str_]
    z: NDArray[np.float64]
    maps: NDArray[np.float32]
    body: NDArray[np.bool_]

    def part(self, chosen: NDArray[np.bool_]) -> Cases:
        """Return the chosen rows."""
        return Cases(*(getattr(self, name)[chosen] for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class Limits:
    """What is asked for: fractures called negative, and healthy images called positive, each by group at `confidence`.

    inconclusive_max bounds the published rule's chosen cell.
    """

    miss_rate: float = 0.05
    alarm_rate: float = 0.10
    confidence: float = 0.95
    inconclusive_max: float = 0.30


@dataclass(frozen=True, slots=True)
class Certified:
    """Thresholds on the calibrated probability with their exact binomial bounds; by_region: p_low region by region.

    A group counts once, by its worst image: neighbouring views are no independent trials.
    """

    platt: Platt
    p_low: float
    p_high: float
    misses: RiskBound
    alarms: RiskBound
    out_of_body_max: float
    by_region: dict[str, RiskBound]

    @property
    def gate(self) -> Gate:
        """Return the gate that a bundle would carry."""
        return Gate(Policy.CERTIFIED, self.p_low, self.p_high, ALPHA, 1.0, 1.0, self.out_of_body_max, DISAGREEMENT)


def halves(cases: Cases, seed: int) -> tuple[Cases, Cases]:
    """Return the cases to fit on and the cases to prove on: whole groups, fractures spread evenly."""
    labels = cases.labels.astype(np.int64)
    if len(set(cases.groups.tolist())) < 2 or min(labels.sum(), (1 - labels).sum()) < 2:  # noqa: PLR2004 - two halves
        message = "a gate needs two groups, two fractures and two other images in validation: one half fits, one proves"
        raise LabError(message)
    splitter = StratifiedGroupKFold(n_splits=2, shuffle=True, random_state=seed)
    proved = np.zeros(len(labels), dtype=np.bool_)
    proved[next(iter(splitter.split(labels, labels, cases.groups)))[1]] = True
    fit, prove = cases.part(~proved), cases.part(proved)
    dataset.assert_disjoint(fit.groups.tolist(), prove.groups.tolist())
    for half in (fit, prove):
        if half.labels.all() or not half.labels.any():
            message = "one half of the validation groups holds one class only; more groups are needed to prove a gate"
            raise LabError(message)
    return fit, prove


def certify(fit: Cases, limits: Limits) -> Certified:
    """Fit Platt scaling and both thresholds."""
    platt = calibrate.platt(fit.z, fit.labels)
    p = platt.probability(fit.z)
    misses = _by_group(p, fit.labels, fit.groups, limits.miss_rate, limits.confidence)
    # A false alarm is a miss of "not fractured" on the scale turned round.
    alarms = _by_group(1.0 - p, ~fit.labels, fit.groups, limits.alarm_rate, limits.confidence)
    p_low = misses.threshold if misses.certified else 0.0
    # One step of the rounding higher: at p_high itself a case is already positive.
    p_high = round(1.0 - alarms.threshold + 1e-4, 4) if alarms.certified else 1.0 + 1e-4
    regions = {}
    named = [set(text.split("+")) - {""} for text in fit.regions.tolist()]
    for region in sorted(set().union(*named)):
        # An image of two regions counts in both.
        inside = np.array([region in names for names in named], dtype=np.bool_)
        regions[region] = _by_group(
            p[inside], fit.labels[inside], fit.groups[inside], limits.miss_rate, limits.confidence
        )
    outside = [one.out_of_body for one, label in zip(_measures(fit), fit.labels, strict=True) if label and one.complete]
    bound = max(_NOWHERE_MAX, float(np.quantile(outside, limits.confidence))) if outside else 1.0
    return Certified(platt, p_low, max(p_low, p_high), misses, alarms, bound, regions)


def _by_group(
    p: NDArray[np.float64], labels: NDArray[np.bool_], groups: NDArray[np.str_], rate: float, confidence: float
) -> RiskBound:
    """Return the bound with one trial a group: its least likely positive."""
    worst: dict[str, float] = {}
    for group, value in zip(groups[labels].tolist(), p[labels].tolist(), strict=True):
        worst[group] = min(value, worst.get(group, 1.0))
    least = np.array(list(worst.values()), dtype=np.float64)
    return calibrate.control_misses(least, np.ones(len(least), dtype=np.bool_), rate, confidence)


def _measures(cases: Cases) -> list[MapMeasures]:
    return [measure(plane, cells, ALPHA) for plane, cells in zip(cases.maps, cases.body, strict=True)]


@dataclass(frozen=True, slots=True)
class Compared:
    """One gate on the half that proves.

    ppv_probability_alone: the share of fractures among as many of the likeliest cases as the gate called positive.
    """

    name: str
    figures: ThreeOutcomes
    ppv_probability_alone: float | None


def compare(prove: Cases, certified: Certified, chosen: Rule) -> tuple[Compared, ...]:
    """Return every gate's figures on the half that it was not fitted on."""
    raw = 1.0 / (1.0 + np.exp(-np.clip(prove.z, -700, 700)))
    p = certified.platt.probability(prove.z)
    codes = {
        "localisation, published defaults": _published(raw, prove, Rule()),
        "localisation, chosen cell": _published(raw, prove, chosen),
        "certified": _coded([outcome for outcome, _ in _decided(p, prove, certified)]),
        "certified, probability only": np.where(
            p < certified.p_low,
            selective.NEGATIVE,
            np.where(p >= certified.p_high, selective.POSITIVE, selective.INCONCLUSIVE),
        ).astype(np.int64),
    }
    compared = []
    for name, one in codes.items():
        figures = selective.counted(one, prove.labels)
        alone = selective.ppv_of_likeliest(p, prove.labels, figures.positive)
        compared.append(Compared(name, figures, alone))
    return tuple(compared)


def _published(p: NDArray[np.float64], cases: Cases, rule: Rule) -> NDArray[np.int64]:
    return gate_grid.decide(p, gate_grid.focus(cases.maps, (rule.alpha,)), rule)


def _decided(p: NDArray[np.float64], cases: Cases, certified: Certified) -> list[tuple[Outcome, ViewFinding]]:
    found = []
    for index, (value, one) in enumerate(zip(p.tolist(), _measures(cases), strict=True)):
        outcome, reason = decide_view(value, one, certified.gate)
        view = ViewFinding(str(index), outcome, reason, value, float(cases.z[index]), None, (), None)
        found.append((outcome, view))
    return found


def _coded(outcomes: list[Outcome]) -> NDArray[np.int64]:
    order = {Outcome.NEGATIVE: 0, Outcome.POSITIVE: 1, Outcome.INCONCLUSIVE: 2}
    return np.array([order[outcome] for outcome in outcomes], dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Studies:
    """Views made into studies by the node's own aggregate, on the half that proves.

    auc is of the highest view. brier and calibration_error are of the highest view's probability, and again after a
    Platt scaling fitted on whole studies (the highest of several is too high on the average).
    """

    studies: int
    fractured: int
    views: int
    auc: float | None
    brier: float
    calibration_error: float
    brier_calibrated: float
    calibration_error_calibrated: float
    figures: ThreeOutcomes


def studies(fit: Cases, prove: Cases, certified: Certified) -> Studies:
    """Return the study-level figures of the certified gate."""
    highest_fit, labels_fit = _highest(fit)
    highest, labels = _highest(prove)
    scale = calibrate.platt(highest_fit, labels_fit)
    p = certified.platt.probability(highest)
    calibrated = scale.probability(highest)
    views: dict[str, list[ViewFinding]] = {}
    for study, (_, view) in zip(
        prove.studies.tolist(), _decided(certified.platt.probability(prove.z), prove, certified), strict=True
    ):
        views.setdefault(study, []).append(view)
    outcomes = [aggregate(tuple(views[study]), DISAGREEMENT, None).outcome for study in _order(prove)]
    both = bool(labels.any()) and not bool(labels.all())
    return Studies(
        studies=len(labels),
        fractured=int(labels.sum()),
        views=len(prove.labels),
        auc=metrics.auc(labels, highest) if both else None,
        brier=metrics.brier(labels, p),
        calibration_error=metrics.calibration_error(labels, p),
        brier_calibrated=metrics.brier(labels, calibrated),
        calibration_error_calibrated=metrics.calibration_error(labels, calibrated),
        figures=selective.three_outcomes(outcomes, labels),
    )


def _order(cases: Cases) -> list[str]:
    return sorted(set(cases.studies.tolist()))


def _highest(cases: Cases) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return each study's highest logit, and whether any of its views is labelled as fractured."""
    order = _order(cases)
    place = {study: index for index, study in enumerate(order)}
    index = np.array([place[study] for study in cases.studies.tolist()], dtype=np.int64)
    highest = np.full(len(order), -np.inf)
    np.maximum.at(highest, index, cases.z)
    labels = np.zeros(len(order), dtype=np.bool_)
    np.logical_or.at(labels, index, cases.labels)
    return highest, labels


def choose_cell(fit: Cases, limits: Limits) -> Cell:
    """Return the published rule's recall-leaning cell on the half that fits."""
    p = 1.0 / (1.0 + np.exp(-np.clip(fit.z, -700, 700)))
    return gate_grid.recall_leaning(gate_grid.grid(p, fit.maps, fit.labels), limits.inconclusive_max)
