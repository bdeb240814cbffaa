from __future__ import annotations

import pytest

from dicom_node.cli.tables import answer

BLOCKED = "study 1.2.3: its images disagree about PatientID"


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"result": "failed", "outcome": None, "reason_text": BLOCKED}, f"failed: {BLOCKED}"),
        ({"state": "composing", "outcome": None, "reason_text": None}, "composing"),
        ({"outcome": "positive", "probability": 0.873, "reason_text": None}, "positive (87%)"),
        ({"outcome": "positive", "probability": 0.9999, "reason_text": None}, "positive (>99%)"),
        ({"outcome": "negative", "probability": 0.0001, "reason_text": None}, "negative (<1%)"),
    ],
)
def test_a_version_says_its_outcome_or_what_it_waits_for_or_why_it_failed(row, words):
    assert answer(row) == words
