"""A finding in plain words: the same sentences in the report, on the summary page and on a terminal."""

from __future__ import annotations

from dataclasses import replace

from dicom_node.core.findings import Outcome, ReasonCode, Region, StudyFinding, ViewFinding

WORDS = {
    Outcome.POSITIVE: "POSITIVE",
    Outcome.NEGATIVE: "NEGATIVE",
    Outcome.INCONCLUSIVE: "INCONCLUSIVE",
    Outcome.NOT_ANALYSED: "NOT ANALYSED",
}
"""The outcome as every series description, page and log prints it."""


DISCLAIMER = "Research use only. Not a medical device. Not verified by a physician."
_CLOSING = "Research use only, not a medical device. AI result, not verified by a physician."


def series_description(outcome: Outcome, what: str = "") -> str:
    """Return what a series is called; the outcome stands within the 16 letters that fit below a thumbnail."""
    return f"AI: {WORDS[outcome]} - fracture triage{' ' + what if what else ''}"


def percent(probability: float) -> str:
    """Return a probability to one decimal, never as a certainty of 0 or 100 %."""
    if probability >= 0.9995:  # noqa: PLR2004 - what would round to 100.0 %
        return "> 99.9 %"
    if probability < 0.0005:  # noqa: PLR2004 - what would round to 0.0 %
        return "< 0.1 %"
    return f"{100.0 * probability:.1f} %"


def in_words(finding: StudyFinding) -> str:
    """Return a study's finding as a short paragraph that claims no more than its outcome."""
    parts = [_MAIN[finding.outcome](finding)]
    if finding.reason is not None:
        parts.append(f"Reason: {_sentence(finding.reason.text)}")
    parts += _skipped(finding)
    if finding.model is not None and finding.model.demonstration:
        parts.append("Made by a demonstration model: not a clinical answer.")
    parts.append(_CLOSING)
    return " ".join(parts)


def main_sentence(finding: StudyFinding) -> str:
    """Return the one sentence that says the result, without the outcome's word and number (they stand beside it)."""
    sentence = _MAIN[finding.outcome](replace(finding, probability=None)).partition(": ")[2]
    return sentence[0].upper() + sentence[1:]


def view_in_words(view: ViewFinding) -> str:
    """Return one view's finding as one line: outcome, probability, region, reason."""
    parts = [WORDS[view.outcome]]
    if view.probability is not None:
        parts.append(f"probability {percent(view.probability)}")
        parts.append(regions_in_words(view))
    if view.reason is not None:
        parts.append(view.reason.text)
    return "; ".join(parts)


def shown_regions(finding: ViewFinding) -> tuple[Region, ...]:
    """Return the regions that may be shown: none where the outcome or the map does not carry them."""
    if finding.outcome not in {Outcome.POSITIVE, Outcome.INCONCLUSIVE}:
        return ()
    return finding.regions if finding.localisation is not None and finding.localisation.trusted else ()


def regions_in_words(view: ViewFinding) -> str:
    """Say how many regions a view's report outlines."""
    count = len(shown_regions(view))
    return "no region outlined" if count == 0 else f"{count} region{'s' if count > 1 else ''} outlined"


def _positive(finding: StudyFinding) -> str:
    count = sum(view.outcome is Outcome.POSITIVE for view in finding.views)
    return f"POSITIVE: fracture suspected on {count} of {_views(finding)}{_highest(finding)}."


def _negative(finding: StudyFinding) -> str:
    return f"NEGATIVE: no fracture suspected on {_views(finding)}{_highest(finding)}. This does not exclude a fracture."


def _inconclusive(finding: StudyFinding) -> str:
    where = f"{_views(finding)}{_highest(finding)}"
    return f"INCONCLUSIVE: neither a positive nor a negative answer for {where}.{_positive_alone(finding)}"


def _positive_alone(finding: StudyFinding) -> str:
    """Say how many views would be positive by themselves: a reader must not have to look for them."""
    count = sum(view.outcome is Outcome.POSITIVE for view in finding.views)
    return f" Alone, {count} of {_views(finding)} would be positive." if count else ""


def _not_analysed(finding: StudyFinding) -> str:
    tried = finding.reason is not None and finding.reason.attempted
    how = "the analysis failed" if tried else "no analysis was attempted"
    return f"NOT ANALYSED: {how}. There is no result, neither positive nor negative."


_MAIN = {
    Outcome.POSITIVE: _positive,
    Outcome.NEGATIVE: _negative,
    Outcome.INCONCLUSIVE: _inconclusive,
    Outcome.NOT_ANALYSED: _not_analysed,
}


def _views(finding: StudyFinding) -> str:
    count = len(finding.views)
    return f"{count} view{'s' if count != 1 else ''}"


def _highest(finding: StudyFinding) -> str:
    if finding.probability is None:
        return ""
    which = "highest probability" if len(finding.views) > 1 else "probability"
    return f" ({which} {percent(finding.probability)})"


def _skipped(finding: StudyFinding) -> list[str]:
    """Say how many views have no answer, where neither the outcome nor its reason says so already."""
    skipped = sum(view.outcome is Outcome.NOT_ANALYSED for view in finding.views)
    told = finding.reason is not None and finding.reason.code is ReasonCode.VIEW_NOT_ANALYSED
    if not skipped or told or finding.outcome is Outcome.NOT_ANALYSED:
        return []
    return [f"Not analysed: {skipped} of {_views(finding)}."]


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
