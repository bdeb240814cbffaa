from __future__ import annotations

from dataclasses import replace

import pytest

from dicom_node.core.findings import Outcome, ReasonCode
from dicom_node.report import codes
from dicom_node.report.narrative import WORDS, in_words, main_sentence, percent, series_description, view_in_words
from tests.conformance import report_cases as cases

ALL = cases.outcomes()


@pytest.mark.parametrize("name", ALL)
def test_every_paragraph_names_the_outcome_and_ends_unverified(name):
    finding = ALL[name].finding
    text = in_words(finding)
    assert text.startswith(WORDS[finding.outcome])
    assert text.endswith("AI result, not verified by a physician.")
    assert "Research use only, not a medical device." in text
    assert text.isascii()


@pytest.mark.parametrize("outcome", Outcome)
def test_a_series_name_shows_its_outcome_below_a_thumbnail_and_fits_its_attribute(outcome):
    for what in ("", "report", "regions"):
        name = series_description(outcome, what)
        assert WORDS[outcome] in name[:16]
        assert name.endswith(what)
        assert len(name) <= 64


@pytest.mark.parametrize("name", ALL)
def test_no_paragraph_claims_more_than_the_outcome(name):
    finding = ALL[name].finding
    text = in_words(finding).lower()
    assert ("fracture suspected on" in text and "no fracture" not in text) == (finding.outcome is Outcome.POSITIVE)
    assert ("no fracture suspected" in text) == (finding.outcome is Outcome.NEGATIVE)
    assert "fracture present" not in text


@pytest.mark.parametrize("name", ["not-analysed-scope", "not-analysed-failed", "no-model"])
def test_without_an_analysis_there_is_no_number(name):
    text = in_words(ALL[name].finding)
    assert "%" not in text
    assert ("attempted" in text) != ("failed" in text)


def test_a_demonstration_model_is_called_one():
    finding = replace(ALL["positive"].finding, model=replace(cases.MODEL, demonstration=True))
    assert "demonstration model" in in_words(finding)


def test_a_reason_is_told():
    finding = ALL["inconclusive"].finding
    assert "the probability lies between the two thresholds." in in_words(finding)
    assert view_in_words(finding.views[0]).startswith("INCONCLUSIVE; probability 46.0 %; no region outlined; ")


def test_words_speak_of_no_region_that_is_not_outlined():
    untrusted = cases.finding("1.2", cases.I, regions=(cases.box(800, 600),))
    assert "no region outlined" in view_in_words(untrusted)


def test_views_without_an_answer_are_told_even_beside_a_positive():
    finding = cases.request(*cases.views(cases.P, cases.X)).finding
    assert finding.outcome is Outcome.POSITIVE
    assert "Not analysed: 1 of 2 views." in in_words(finding)


@pytest.mark.parametrize("words", [in_words, main_sentence])
def test_views_that_would_be_positive_alone_are_told_where_the_study_is_inconclusive(words):
    assert "Alone, 1 of 2 views would be positive." in words(ALL["inconclusive-disagreeing"].finding)
    for name in ("inconclusive", "inconclusive-skipped", "positive", "negative-two-views", "not-analysed-failed"):
        assert "Alone" not in words(ALL[name].finding)


def test_the_page_sentence_repeats_no_number():
    assert main_sentence(ALL["positive"].finding) == "Fracture suspected on 1 of 1 view."


@pytest.mark.parametrize(
    ("probability", "text"),
    [(1.0, "> 99.9 %"), (0.9996, "> 99.9 %"), (0.0, "< 0.1 %"), (0.5, "50.0 %"), (0.999, "99.9 %")],
)
def test_no_probability_is_printed_as_a_certainty(probability, text):
    assert percent(probability) == text


def test_every_reason_and_outcome_has_one_code_of_its_own():
    assert set(codes.REASONS) == set(ReasonCode)
    assert set(codes.OUTCOMES) == set(Outcome)
    values = [code.value for code in (*codes.REASONS.values(), *codes.OUTCOMES.values())]
    assert len(values) == len(set(values))
    assert all(len(value) <= 16 for value in values)
