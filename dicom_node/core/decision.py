"""The only place where an outcome is decided: the gate for one view, the aggregate for a study."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from dicom_node.core.findings import Outcome, Reason, ReasonCode, StudyFinding, ViewFinding, whole_percent

if TYPE_CHECKING:
    from dicom_node.core.localisation import MapMeasures
    from dicom_node.core.model_identity import ModelIdentity


class Policy(str, Enum):
    """Which rule turns a probability and a map into an outcome."""

    CERTIFIED = "certified"
    LOCALISATION = "localisation"


@dataclass(frozen=True, slots=True)
class RegionGate:
    """A body region's own lower threshold, for images that state one of its body parts (DICOM code strings).

    p_low is None where too few fractures were at hand to certify one: the region is inconclusive only.
    """

    name: str
    body_parts: tuple[str, ...]
    p_low: float | None


@dataclass(frozen=True, slots=True)
class Gate:
    """The thresholds a bundle carries, fitted on one split and proved on another.

    p_low, p_high and disagreement_margin are probabilities; entropy_max, area_max and out_of_body_max bound the map's
    measures (all in [0, 1]); alpha is the activation level, a share of the map's maximum. regions: the lower thresholds
    of the body regions that have their own.
    """

    policy: Policy
    p_low: float
    p_high: float
    alpha: float
    entropy_max: float
    area_max: float
    out_of_body_max: float
    disagreement_margin: float
    regions: tuple[RegionGate, ...] = ()


def lower_threshold(gate: Gate, body_part: str) -> float | None:
    """Return p_low for an image that states this body part ("" for none), or None where its region has none.

    A part of no region, or none at all, may show any of them: the strictest threshold holds.
    """
    for region in gate.regions:
        if body_part in region.body_parts:
            return region.p_low
    return min([gate.p_low, *(region.p_low for region in gate.regions if region.p_low is not None)])


def is_trusted(measures: MapMeasures, gate: Gate) -> bool:
    """Tell whether a map says plausibly where: an untrusted one draws no region."""
    return (
        measures.complete
        and not measures.on_border
        and measures.entropy <= gate.entropy_max
        and measures.area <= gate.area_max
        and measures.out_of_body <= gate.out_of_body_max
    )


def is_plausible(measures: MapMeasures, gate: Gate) -> bool:
    """Tell whether a map may carry a positive under the certified policy: on the body, not on an edge or a marker."""
    return measures.complete and not measures.on_border and measures.out_of_body <= gate.out_of_body_max


def decide_view(
    probability: float, measures: MapMeasures, gate: Gate, body_part: str = ""
) -> tuple[Outcome, Reason | None]:
    """Return one view's outcome, and the reason where it is inconclusive.

    certified: negative below p_low, positive from p_high where the map is plausible, inconclusive otherwise.
    localisation: the published two-step rule, negative below p_low, else positive where the map is trusted.
    Either way an image of a region without a certified p_low is inconclusive. body_part: as the image states it.
    """
    p_low = lower_threshold(gate, body_part)
    if p_low is None:
        return Outcome.INCONCLUSIVE, _NOT_CERTIFIED
    if probability < p_low:
        return Outcome.NEGATIVE, None
    if gate.policy is Policy.CERTIFIED and probability < max(p_low, gate.p_high):
        return Outcome.INCONCLUSIVE, _BETWEEN
    believed = is_trusted if gate.policy is Policy.LOCALISATION else is_plausible
    if believed(measures, gate):
        return Outcome.POSITIVE, None
    return Outcome.INCONCLUSIVE, _UNTRUSTED


_BETWEEN = Reason(ReasonCode.BETWEEN_THRESHOLDS, "the probability lies between the two thresholds")
_NOT_CERTIFIED = Reason(
    ReasonCode.NOT_CERTIFIED, "the model had too few fractures of this body region to certify a threshold for it"
)
_UNTRUSTED = Reason(
    ReasonCode.LOCALISATION_UNTRUSTED, "the evidence does not lie on a plausible place, so it may come from an artefact"
)


def aggregate(views: tuple[ViewFinding, ...], margin: float, model: ModelIdentity | None) -> StudyFinding:
    """Return the study's finding from its views: the highest view decides, and no doubt is lost on the way.

    A study is negative only if every one of its views was analysed and negative. margin: a greater spread of the views'
    probabilities makes a positive inconclusive.
    """
    scored = [view.probability for view in views if view.probability is not None]
    if not scored:
        return StudyFinding(Outcome.NOT_ANALYSED, _why_nothing(views), None, views, model)
    outcome, reason = _worst(views, spread=max(scored) - min(scored), margin=margin)
    return StudyFinding(outcome, reason, max(scored), views, model)


def _worst(views: tuple[ViewFinding, ...], spread: float, margin: float) -> tuple[Outcome, Reason | None]:
    by_outcome: dict[Outcome, list[ViewFinding]] = {outcome: [] for outcome in Outcome}
    for view in views:
        by_outcome[view.outcome].append(view)
    if by_outcome[Outcome.POSITIVE]:
        if spread > margin:
            return Outcome.INCONCLUSIVE, _disagreement(views)
        return Outcome.POSITIVE, None
    if by_outcome[Outcome.INCONCLUSIVE]:
        likeliest = max(by_outcome[Outcome.INCONCLUSIVE], key=lambda view: view.probability or 0.0)
        return Outcome.INCONCLUSIVE, likeliest.reason
    if by_outcome[Outcome.NOT_ANALYSED]:
        skipped = len(by_outcome[Outcome.NOT_ANALYSED])
        text = f"{skipped} of {len(views)} views could not be analysed, so the study cannot be called negative"
        return Outcome.INCONCLUSIVE, Reason(ReasonCode.VIEW_NOT_ANALYSED, text)
    return Outcome.NEGATIVE, None


def _disagreement(views: tuple[ViewFinding, ...]) -> Reason:
    scored = sorted(view.probability for view in views if view.probability is not None)
    text = f"the views disagree: probabilities from {whole_percent(scored[0])} to {whole_percent(scored[-1])}"
    return Reason(ReasonCode.VIEWS_DISAGREE, text)


def _why_nothing(views: tuple[ViewFinding, ...]) -> Reason:
    """Return the reason to give for a study without an answer: a failure outranks an image that was never in scope."""
    reasons = [view.reason for view in views if view.reason is not None]
    if not reasons:
        return Reason(ReasonCode.NO_PIXELS, "the study holds no radiograph")
    return next((reason for reason in reasons if reason.attempted), reasons[0])
