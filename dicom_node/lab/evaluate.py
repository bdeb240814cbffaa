"""From held-out scores to everything that the manifest, the card and the report state.

What ships is fitted on all held-out scores; how it does is measured on groups that it was not fitted on: calibration,
thresholds and bounds on a map are fitted on one half of the groups and prove themselves on the other, both ways round.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from dicom_node.core.decision import Gate, Policy, decide_view
from dicom_node.core.findings import Outcome
from dicom_node.lab import calibrate, localise, metrics, selective, shortcuts, thresholds
from dicom_node.lab.dataset import REGIONS, assert_disjoint
from dicom_node.lab.runs import LabError
from dicom_node.lab.thresholds import Held, Thresholds

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from dicom_node.lab.experiment import HeldOut, Material
    from dicom_node.lab.selective import ThreeOutcomes

DISAGREEMENT: Final = 0.6
"""Views of one study further apart than this in probability are told as a disagreement."""
_CODES: Final = {
    Outcome.NEGATIVE: selective.NEGATIVE,
    Outcome.POSITIVE: selective.POSITIVE,
    Outcome.INCONCLUSIVE: selective.INCONCLUSIVE,
}


@dataclass(frozen=True, slots=True)
class Subgroup:
    """A part of the held-out images and how well the scores separate it."""

    name: str
    images: int
    fractured: int
    auc: float


@dataclass(frozen=True, slots=True)
class PolicyResult:
    """What a gate policy does with the images it was not fitted on, view by view.

    ppv_probability_alone: the share of fractures among as many of the likeliest images as it calls positive.
    """

    policy: str
    figures: ThreeOutcomes
    ppv_probability_alone: float | None


@dataclass(frozen=True, slots=True)
class Localisation:
    """How often the localiser's peak cell touches a fracture box, among which images, and what chance gives."""

    fractured: int
    hit: float
    chance: float
    flagged: int
    hit_flagged: float
    trusted_true_positives: float


@dataclass(frozen=True, slots=True)
class Fitted:
    """What ships: calibration, thresholds, and the gate with the shift that its map needs."""

    platt: calibrate.Platt
    thresholds: Thresholds
    gate: Gate
    map_shift: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Every figure, all of them out of fold and by group; p is cross-fitted, and so are the operating figures."""

    fitted: Fitted
    prevalence: float
    auc: float
    auc_interval: metrics.Interval
    fold_aucs: tuple[float, ...]
    average_precision: float
    average_precision_interval: metrics.Interval
    auc_without_hardware: float
    auc_on_large_images: float
    shortcut_auc: float
    brier: float
    brier_of_prevalence: float
    negative_log_likelihood: float
    calibration_error: float
    calibration_error_interval: metrics.Interval
    specificity_at_sensitivity: float
    at_low: metrics.Operating
    at_high: metrics.Operating
    aurc: float | None
    augrc: float | None
    subgroups: tuple[Subgroup, ...]
    localisation: Localisation
    policies: tuple[PolicyResult, ...]
    images: int
    fractured: int
    groups: int
    positive_groups: int
    two_largest_groups: float
    hardware: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Scores:
    """The scored images, row for row; shortcut is the score that no anatomy went into."""

    rows: NDArray[np.int64]
    held: Held
    z: NDArray[np.float64]
    maps: NDArray[np.float32]
    body: NDArray[np.bool_]
    folds: NDArray[np.int64]
    hardware: NDArray[np.bool_]
    shortcut: NDArray[np.float64]


def gather(material: Material, held_out: HeldOut) -> Scores:
    """Return the scored images; held.p is Platt scaling fitted on all of them."""
    used = material.scored
    rows = np.flatnonzero(used)
    labels, z = material.labels[used], held_out.z[used]
    regions = tuple(material.images[row].regions for row in rows)
    plain = shortcuts.held_out_scores(
        shortcuts.facts(material.images, material.cache), material.labels, material.folds, used
    )
    return Scores(
        rows=rows,
        held=Held(calibrate.platt(z, labels).probability(z), labels, material.groups[used], regions),
        z=z,
        maps=held_out.logits[used],
        body=material.cache.body[used],
        folds=material.folds[used],
        hardware=np.array([material.images[row].hardware for row in rows], dtype=np.bool_),
        shortcut=plain[used],
    )


def evaluate(material: Material, held_out: HeldOut, seed: int) -> tuple[Evaluation, Scores, Proved]:
    """Fit what ships and measure it, on the scored images only."""
    scores = gather(material, held_out)
    everything = np.ones(len(scores.rows), dtype=np.bool_)
    fitted = fit(material, scores, everything)
    proved = prove(material, scores, seed)
    labels, groups, z = scores.held.labels, scores.held.groups, scores.z
    large = np.array([max(material.images[row].width, material.images[row].height) >= 1024 for row in scores.rows])  # noqa: PLR2004 - was resampled

    def interval(
        values: NDArray[np.float64], statistic: Callable[[NDArray[np.bool_], NDArray[np.float64]], float]
    ) -> metrics.Interval:
        return metrics.group_interval(groups, labels, values, statistic, seed=seed)

    confidence, loss = selective.likelier(labels, proved.p)
    evaluation = Evaluation(
        fitted=fitted,
        prevalence=float(labels.mean()),
        auc=metrics.auc(labels, z),
        auc_interval=interval(z, metrics.auc),
        fold_aucs=tuple(
            metrics.auc(labels[scores.folds == one], z[scores.folds == one]) for one in np.unique(scores.folds)
        ),
        average_precision=metrics.average_precision(labels, z),
        average_precision_interval=interval(z, metrics.average_precision),
        auc_without_hardware=metrics.auc(labels[~scores.hardware], z[~scores.hardware]),
        auc_on_large_images=metrics.auc(labels[large], z[large]),
        shortcut_auc=metrics.auc(labels, scores.shortcut),
        brier=metrics.brier(labels, proved.p),
        brier_of_prevalence=float(labels.mean() * (1 - labels.mean())),
        negative_log_likelihood=metrics.negative_log_likelihood(labels, proved.p),
        calibration_error=metrics.calibration_error(labels, proved.p),
        calibration_error_interval=interval(proved.p, metrics.calibration_error),
        specificity_at_sensitivity=metrics.specificity_at(labels, z, 0.90),
        at_low=metrics.operating_of(labels, proved.reached_low, fitted.thresholds.p_low),
        at_high=metrics.operating_of(labels, proved.reached_high, fitted.thresholds.p_high),
        aurc=selective.aurc(confidence, loss),
        augrc=selective.augrc(confidence, loss),
        subgroups=_subgroups(scores),
        localisation=_located(material, scores, fitted),
        policies=tuple(_policy(name, codes, proved.p, labels) for name, codes in proved.codes.items()),
        images=len(labels),
        fractured=int(labels.sum()),
        groups=len(np.unique(groups)),
        positive_groups=len(np.unique(groups[labels])),
        two_largest_groups=float(np.sort(np.unique(groups, return_counts=True)[1])[-2:].sum() / len(groups)),
        hardware=(int(scores.hardware.sum()), int(labels[scores.hardware].sum())),
    )
    return evaluation, scores, proved


def _policy(name: str, codes: NDArray[np.int64], p: NDArray[np.float64], labels: NDArray[np.bool_]) -> PolicyResult:
    figures = selective.counted(codes, labels)
    return PolicyResult(name, figures, selective.ppv_of_likeliest(p, labels, figures.positive))


def fit(material: Material, scores: Scores, among: NDArray[np.bool_]) -> Fitted:
    """Fit calibration, thresholds and bounds on a map to some of the scored images."""
    z, held = scores.z[among], scores.held.part(among)
    platt = calibrate.platt(z, held.labels)
    if platt.a <= 0.0:
        message = "held-out scores rank no better than chance (Platt's slope is not above 0): train longer, or on more"
        raise LabError(message)
    held = Held(platt.probability(z), held.labels, held.groups, held.regions)
    chosen = thresholds.choose(held)
    hit, _ = _hits(material, scores)
    sure = held.p >= chosen.p_high if (held.p[held.labels] >= chosen.p_high).any() else held.p >= chosen.p_low
    good = np.flatnonzero(among)[sure & hit[among]]
    bounds = localise.choose_bounds(scores.maps[good], scores.body[good])
    gate = Gate(
        policy=Policy.CERTIFIED,
        p_low=chosen.p_low,
        p_high=chosen.p_high,
        alpha=localise.ALPHA,
        entropy_max=bounds.entropy_max,
        area_max=bounds.area_max,
        out_of_body_max=bounds.out_of_body_max,
        disagreement_margin=DISAGREEMENT,
        regions=chosen.region_gates,
    )
    return Fitted(platt, chosen, gate, bounds.shift)


@dataclass(frozen=True, slots=True)
class Proved:
    """What thresholds fitted on the other half of the groups do with each scored image, row for row.

    reached_low, reached_high: whether p lies at or above p_low (of all images) and p_high. codes: each policy's
    outcomes as selective.NEGATIVE, POSITIVE and INCONCLUSIVE, with the regions' own thresholds.
    """

    p: NDArray[np.float64]
    reached_low: NDArray[np.bool_]
    reached_high: NDArray[np.bool_]
    codes: dict[str, NDArray[np.int64]]


def prove(material: Material, scores: Scores, seed: int) -> Proved:
    """Fit on one half of the groups and decide the other, both ways round."""
    labels, groups = scores.held.labels, scores.held.groups
    n = len(labels)
    p, low, high = np.zeros(n), np.zeros(n, dtype=np.bool_), np.zeros(n, dtype=np.bool_)
    codes = {policy.value: np.zeros(n, dtype=np.int64) for policy in (Policy.CERTIFIED, Policy.LOCALISATION)}
    splitter = StratifiedGroupKFold(n_splits=2, shuffle=True, random_state=seed)
    for learnt, asked in splitter.split(labels, labels, groups):
        assert_disjoint(groups[learnt].tolist(), groups[asked].tolist())
        among = np.zeros(n, dtype=np.bool_)
        among[learnt] = True
        fitted = fit(material, scores, among)
        p[asked] = fitted.platt.probability(scores.z[asked])
        low[asked], high[asked] = p[asked] >= fitted.thresholds.p_low, p[asked] >= fitted.thresholds.p_high
        for policy in (Policy.CERTIFIED, Policy.LOCALISATION):
            codes[policy.value][asked] = _decide(scores, asked, p[asked], fitted, policy)
    return Proved(p, low, high, codes)


def _decide(
    scores: Scores, rows: NDArray[np.int64], p: NDArray[np.float64], fitted: Fitted, policy: Policy
) -> NDArray[np.int64]:
    gate = replace(fitted.gate, policy=policy)
    measured = localise.measures(scores.maps[rows], scores.body[rows], fitted.map_shift)
    parts = [thresholds.stated_part(scores.held.regions[row]) for row in rows]
    found = zip(p.tolist(), measured, parts, strict=True)
    return np.array([_CODES[decide_view(q, one, gate, part)[0]] for q, one, part in found], dtype=np.int64)


def _subgroups(scores: Scores) -> tuple[Subgroup, ...]:
    parts = []
    for region in REGIONS:
        among = scores.held.showing(region)
        labels = scores.held.labels[among]
        parts.append(Subgroup(region, len(labels), int(labels.sum()), metrics.auc(labels, scores.z[among])))
    return tuple(parts)


def _hits(material: Material, scores: Scores) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return whether each image's peak cell touches a fracture box, and whether it has one."""
    measured = localise.measures(scores.maps, scores.body, localise.above_all(scores.maps))
    boxes = [material.cache.input_boxes(int(row), material.images[row].boxes) for row in scores.rows]
    hit = [localise.peak_in_box(one.peak, around) for one, around in zip(measured, boxes, strict=True)]
    return np.array(hit, dtype=np.bool_), np.array([bool(around) for around in boxes], dtype=np.bool_)


def _located(material: Material, scores: Scores, fitted: Fitted) -> Localisation:
    hit, boxed = _hits(material, scores)
    flagged = boxed & (scores.held.p >= fitted.thresholds.p_high)
    good = flagged & hit
    chance = [
        localise.chance_hit(
            scores.body[i], material.cache.input_boxes(int(scores.rows[i]), material.images[scores.rows[i]].boxes)
        )
        for i in np.flatnonzero(boxed)
    ]
    return Localisation(
        fractured=int(boxed.sum()),
        hit=_mean(hit[boxed]),
        chance=_mean(np.array(chance)),
        flagged=int(flagged.sum()),
        hit_flagged=_mean(hit[flagged]),
        trusted_true_positives=localise.trusted_share(
            scores.maps[good], scores.body[good], fitted.map_shift, fitted.gate
        ),
    )


def _mean(values: NDArray[np.bool_] | NDArray[np.float64]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
