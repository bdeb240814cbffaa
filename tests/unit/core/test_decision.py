from __future__ import annotations

from dataclasses import replace

import pytest

from dicom_node.core.decision import (
    Gate,
    Policy,
    RegionGate,
    aggregate,
    decide_view,
    is_plausible,
    is_trusted,
    lower_threshold,
)
from dicom_node.core.findings import Outcome, Reason, ReasonCode, ViewFinding, not_analysed
from dicom_node.core.localisation import MapMeasures

GATE = Gate(Policy.CERTIFIED, 0.1, 0.5, 0.5, 0.9, 0.4, 0.3, 0.6)
ORIGINAL = replace(GATE, policy=Policy.LOCALISATION)
GOOD = MapMeasures(0.5, 0.1, 0.0, (3, 4), on_border=False, complete=True)


@pytest.mark.parametrize(
    ("probability", "outcome"),
    [
        (0.0, Outcome.NEGATIVE),
        (0.0999, Outcome.NEGATIVE),
        (0.1, Outcome.INCONCLUSIVE),
        (0.4999, Outcome.INCONCLUSIVE),
        (0.5, Outcome.POSITIVE),
        (1.0, Outcome.POSITIVE),
    ],
)
def test_certified_has_two_thresholds(probability: float, outcome: Outcome) -> None:
    assert decide_view(probability, GOOD, GATE)[0] is outcome


def test_certified_asks_that_the_map_be_plausible_but_not_that_it_be_focused() -> None:
    assert decide_view(0.9, replace(GOOD, entropy=1.0, area=1.0), GATE) == (Outcome.POSITIVE, None)
    for bad in (replace(GOOD, on_border=True), replace(GOOD, complete=False), replace(GOOD, out_of_body=0.31)):
        outcome, reason = decide_view(0.9, bad, GATE)
        assert outcome is Outcome.INCONCLUSIVE
        assert reason is not None
        assert reason.code is ReasonCode.LOCALISATION_UNTRUSTED
        assert not is_plausible(bad, GATE)


def test_localisation_is_the_published_rule() -> None:
    assert decide_view(0.05, GOOD, ORIGINAL)[0] is Outcome.NEGATIVE
    assert decide_view(0.11, GOOD, ORIGINAL)[0] is Outcome.POSITIVE
    for bad in (replace(GOOD, entropy=0.91), replace(GOOD, area=0.41)):
        assert decide_view(0.9, bad, ORIGINAL)[0] is Outcome.INCONCLUSIVE
        assert not is_trusted(bad, ORIGINAL)


REGIONAL = replace(
    GATE,
    regions=(
        RegionGate("hand", ("HAND", "WRIST"), 0.2),
        RegionGate("leg", ("KNEE",), 0.05),
        RegionGate("hip", ("HIP",), None),
    ),
)


@pytest.mark.parametrize(
    ("body_part", "p_low"),
    [("HAND", 0.2), ("WRIST", 0.2), ("KNEE", 0.05), ("HIP", None), ("", 0.05), ("EXTREMITY", 0.05)],
)
def test_an_image_is_held_against_its_regions_threshold_and_an_unknown_one_against_the_strictest(
    body_part: str, p_low: float | None
) -> None:
    assert lower_threshold(REGIONAL, body_part) == p_low
    expected = {0.2: Outcome.NEGATIVE, 0.05: Outcome.INCONCLUSIVE, None: Outcome.INCONCLUSIVE}[p_low]
    assert decide_view(0.15, GOOD, REGIONAL, body_part)[0] is expected


@pytest.mark.parametrize("policy", list(Policy))
@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_a_region_that_could_not_be_certified_is_inconclusive_only(policy: Policy, probability: float) -> None:
    outcome, reason = decide_view(probability, GOOD, replace(REGIONAL, policy=policy), "HIP")
    assert outcome is Outcome.INCONCLUSIVE
    assert reason is not None
    assert reason.code is ReasonCode.NOT_CERTIFIED


def test_a_regions_threshold_above_p_high_leaves_no_positive_below_it() -> None:
    gate = replace(GATE, regions=(RegionGate("hand", ("HAND",), 0.7),))
    assert decide_view(0.6, GOOD, gate, "HAND")[0] is Outcome.NEGATIVE
    assert decide_view(0.7, GOOD, gate, "HAND")[0] is Outcome.POSITIVE


def test_a_doubtful_map_never_turns_a_positive_into_a_negative() -> None:
    for policy in (GATE, ORIGINAL):
        assert decide_view(0.9, replace(GOOD, complete=False), policy)[0] is Outcome.INCONCLUSIVE


def view(outcome: Outcome, probability: float, uid: str = "1.2") -> ViewFinding:
    reason = Reason(ReasonCode.BETWEEN_THRESHOLDS, "between") if outcome is Outcome.INCONCLUSIVE else None
    return ViewFinding(uid, outcome, reason, probability, 0.0, None, (), None)


NEGATIVE, POSITIVE = view(Outcome.NEGATIVE, 0.05), view(Outcome.POSITIVE, 0.6)
UNSURE = view(Outcome.INCONCLUSIVE, 0.3)
SKIPPED = not_analysed("1.3", Reason(ReasonCode.UNDECODABLE, "undecodable"))
CHEST = not_analysed("1.4", Reason(ReasonCode.BODY_PART, "chest"))


@pytest.mark.parametrize(
    ("views", "outcome", "probability"),
    [
        ((NEGATIVE,), Outcome.NEGATIVE, 0.05),
        ((NEGATIVE, NEGATIVE), Outcome.NEGATIVE, 0.05),
        ((NEGATIVE, POSITIVE), Outcome.POSITIVE, 0.6),
        ((NEGATIVE, UNSURE), Outcome.INCONCLUSIVE, 0.3),
        ((POSITIVE, UNSURE, SKIPPED), Outcome.POSITIVE, 0.6),
        ((NEGATIVE, SKIPPED), Outcome.INCONCLUSIVE, 0.05),
        ((SKIPPED, CHEST), Outcome.NOT_ANALYSED, None),
        ((), Outcome.NOT_ANALYSED, None),
    ],
)
def test_the_highest_view_decides(views, outcome, probability) -> None:
    for order in (views, views[::-1]):
        study = aggregate(order, 0.6, None)
        assert (study.outcome, study.probability) == (outcome, probability)


def test_a_study_with_a_view_that_was_not_analysed_is_never_negative() -> None:
    study = aggregate((NEGATIVE, SKIPPED), 0.6, None)
    assert study.reason is not None
    assert study.reason.code is ReasonCode.VIEW_NOT_ANALYSED


def test_views_that_disagree_beyond_the_margin_are_inconclusive() -> None:
    study = aggregate((NEGATIVE, view(Outcome.POSITIVE, 0.9)), 0.6, None)
    assert study.outcome is Outcome.INCONCLUSIVE
    assert study.reason is not None
    assert study.reason.code is ReasonCode.VIEWS_DISAGREE
    assert study.probability == 0.9


@pytest.mark.parametrize(
    ("low", "high", "words"), [(0.04, 0.9, "4% to 90%"), (0.002, 0.998, "<1% to >99%"), (0.0, 1.0, "<1% to >99%")]
)
def test_no_probability_is_told_as_a_certainty(low: float, high: float, words: str) -> None:
    reason = aggregate((view(Outcome.NEGATIVE, low), view(Outcome.POSITIVE, high)), 0.6, None).reason
    assert reason is not None
    assert reason.text.endswith(words)


def test_a_failure_outranks_an_image_that_was_never_in_scope() -> None:
    for views in ((CHEST, SKIPPED), (SKIPPED, CHEST)):
        reason = aggregate(views, 0.6, None).reason
        assert reason is not None
        assert reason.code is ReasonCode.UNDECODABLE


def test_no_finding_without_its_number_and_no_number_without_its_finding() -> None:
    with pytest.raises(ValueError, match="probability"):
        ViewFinding("1.2", Outcome.POSITIVE, None, None, None, None, (), None)
    with pytest.raises(ValueError, match="probability"):
        ViewFinding("1.2", Outcome.NOT_ANALYSED, SKIPPED.reason, 0.5, None, None, (), None)
    with pytest.raises(ValueError, match="reason"):
        ViewFinding("1.2", Outcome.INCONCLUSIVE, None, 0.5, None, None, (), None)
