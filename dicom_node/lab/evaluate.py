"""From held-out scores to everything that the manifest and the card state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from dicom_node.core.decision import Gate, Policy, decide_view
from dicom_node.core.findings import Outcome
from dicom_node.lab import calibrate, localise, metrics, shortcuts
from dicom_node.lab.dataset import REGIONS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicom_node.lab.experiment import HeldOut, Material

MISS_RATE: Final = 0.10
CONFIDENCE: Final = 0.95
_PRECISION: Final = 0.70
_LEAST_FLAGGED: Final = 40
_DISAGREEMENT: Final = 0.6


@dataclass(frozen=True, slots=True)
class Subgroup:
    """A part of the held-out images and how well the scores separate it."""

    name: str
    images: int
    fractured: int
    auc: float


@dataclass(frozen=True, slots=True)
class PolicyResult:
    """What a gate policy does with the held-out images, view by view."""

    policy: str
    positive: int
    ppv: float
    inconclusive: int
    inconclusive_fractured: float
    negative: int
    npv: float
    sensitivity_of_positive: float


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
class Evaluation:
    """Every figure, all of them out of fold and by group."""

    platt: calibrate.Platt
    bound: calibrate.RiskBound
    gate: Gate
    map_shift: float
    prevalence: float
    auc: float
    auc_interval: metrics.Interval
    fold_aucs: tuple[float, ...]
    average_precision: float
    average_precision_interval: metrics.Interval
    auc_without_hardware: float
    shortcut_auc: float
    miss_interval: metrics.Interval
    brier: float
    brier_of_prevalence: float
    negative_log_likelihood: float
    calibration_error: float
    at_low: metrics.Operating
    at_high: metrics.Operating
    subgroups: tuple[Subgroup, ...]
    localisation: Localisation
    policies: tuple[PolicyResult, ...]
    groups: int
    positive_groups: int
    two_largest_groups: float
    hardware: tuple[int, int]


def evaluate(material: Material, held_out: HeldOut, seed: int) -> Evaluation:
    """Calibrate, choose the thresholds and measure, on the scored images only."""
    used = material.scored
    labels, groups, z = material.labels[used], material.groups[used], held_out.z[used]
    platt = calibrate.platt(z, labels)
    p = platt.probability(z)
    bound = calibrate.control_misses(p, labels, MISS_RATE, CONFIDENCE)
    p_high, _ = calibrate.precision_threshold(p, labels, _PRECISION, _LEAST_FLAGGED)
    p_high = max(p_high, bound.threshold)
    gate, shift, located = _gate(material, held_out, p, bound.threshold, p_high)
    hardware = np.array([image.hardware for image in material.images])[used]
    plain = shortcuts.held_out_scores(
        shortcuts.facts(material.images, material.cache), material.labels, material.folds, used
    )[used]
    folds = material.folds[used]
    return Evaluation(
        platt=platt,
        bound=bound,
        gate=gate,
        map_shift=shift,
        prevalence=float(labels.mean()),
        auc=metrics.auc(labels, z),
        auc_interval=metrics.group_interval(groups, labels, z, metrics.auc, seed=seed),
        fold_aucs=tuple(metrics.auc(labels[folds == fold], z[folds == fold]) for fold in np.unique(folds)),
        average_precision=metrics.average_precision(labels, z),
        average_precision_interval=metrics.group_interval(groups, labels, z, metrics.average_precision, seed=seed),
        auc_without_hardware=metrics.auc(labels[~hardware], z[~hardware]),
        shortcut_auc=metrics.auc(labels, plain),
        miss_interval=metrics.group_interval(
            groups, labels, p, lambda y, q: _miss_rate(y, q, bound.threshold), seed=seed
        ),
        brier=metrics.brier(labels, p),
        brier_of_prevalence=float(labels.mean() * (1 - labels.mean())),
        negative_log_likelihood=metrics.negative_log_likelihood(labels, p),
        calibration_error=metrics.calibration_error(labels, p),
        at_low=metrics.operating(labels, p, bound.threshold),
        at_high=metrics.operating(labels, p, p_high),
        subgroups=_subgroups(material, labels, z),
        localisation=located,
        policies=_policies(material, held_out, p, gate, shift),
        groups=len(np.unique(groups)),
        positive_groups=len(np.unique(groups[labels])),
        two_largest_groups=float(np.sort(np.unique(groups, return_counts=True)[1])[-2:].sum() / len(groups)),
        hardware=(int(hardware.sum()), int(labels[hardware].sum())),
    )


def _miss_rate(labels: NDArray[np.bool_], p: NDArray[np.float64], threshold: float) -> float:
    return float((p[labels] < threshold).mean()) if labels.any() else float("nan")


def _subgroups(material: Material, labels: NDArray[np.bool_], z: NDArray[np.float64]) -> tuple[Subgroup, ...]:
    images = [image for image, used in zip(material.images, material.scored, strict=True) if used]
    parts = []
    for region in REGIONS:
        among = np.array([region in image.regions for image in images], dtype=np.bool_)
        y = labels[among]
        parts.append(Subgroup(region, int(among.sum()), int(y.sum()), metrics.auc(y, z[among])))
    return tuple(parts)


def _gate(
    material: Material, held_out: HeldOut, p: NDArray[np.float64], p_low: float, p_high: float
) -> tuple[Gate, float, Localisation]:
    rows = np.flatnonzero(material.scored)
    boxed = np.array([bool(material.images[row].boxes) for row in rows], dtype=np.bool_)
    fractured, asked = rows[boxed], p[boxed]
    maps, body = held_out.logits[fractured], material.cache.body[fractured]
    boxes = [material.cache.input_boxes(int(row), material.images[row].boxes) for row in fractured]
    plain = localise.measures(maps, body, shift=_above_all(maps))
    hit = np.array([localise.peak_in_box(one.peak, box) for one, box in zip(plain, boxes, strict=True)], dtype=np.bool_)
    flagged = asked >= p_high if (asked >= p_high).any() else asked >= p_low
    good = flagged & hit
    bounds = localise.choose_bounds(maps[good], body[good])
    gate = Gate(
        Policy.CERTIFIED,
        p_low,
        p_high,
        localise.ALPHA,
        bounds.entropy_max,
        bounds.area_max,
        bounds.out_of_body_max,
        _DISAGREEMENT,
    )
    located = Localisation(
        fractured=len(fractured),
        hit=_mean(hit),
        chance=_mean(np.array([localise.chance_hit(cells, box) for cells, box in zip(body, boxes, strict=True)])),
        flagged=int(flagged.sum()),
        hit_flagged=_mean(hit[flagged]),
        trusted_true_positives=localise.trusted_share(maps[good], body[good], bounds.shift, gate),
    )
    return gate, bounds.shift, located


def _above_all(maps: NDArray[np.float32]) -> float:
    """Return a shift that makes every cell positive, so that the peak is the peak whatever the map's level."""
    return float(-maps.min()) + 1.0 if maps.size else 0.0


def _mean(values: NDArray[np.bool_] | NDArray[np.float64]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def _policies(
    material: Material, held_out: HeldOut, p: NDArray[np.float64], gate: Gate, shift: float
) -> tuple[PolicyResult, ...]:
    used = material.scored
    labels = material.labels[used]
    measured = localise.measures(held_out.logits[used], material.cache.body[used], shift)
    results = []
    for policy in (Policy.CERTIFIED, Policy.LOCALISATION):
        outcomes = np.array(
            [
                decide_view(float(q), one, _with_policy(gate, policy))[0].value
                for q, one in zip(p, measured, strict=True)
            ]
        )
        results.append(_policy_result(policy.value, outcomes, labels))
    return tuple(results)


def _with_policy(gate: Gate, policy: Policy) -> Gate:
    return Gate(
        policy,
        gate.p_low,
        gate.p_high,
        gate.alpha,
        gate.entropy_max,
        gate.area_max,
        gate.out_of_body_max,
        gate.disagreement_margin,
    )


def _policy_result(name: str, outcomes: NDArray[np.str_], labels: NDArray[np.bool_]) -> PolicyResult:
    positive = outcomes == Outcome.POSITIVE.value
    negative = outcomes == Outcome.NEGATIVE.value
    between = outcomes == Outcome.INCONCLUSIVE.value
    return PolicyResult(
        policy=name,
        positive=int(positive.sum()),
        ppv=_mean(labels[positive]),
        inconclusive=int(between.sum()),
        inconclusive_fractured=_mean(labels[between]),
        negative=int(negative.sum()),
        npv=1.0 - _mean(labels[negative]),
        sensitivity_of_positive=_mean(positive[labels]),
    )
