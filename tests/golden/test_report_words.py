"""What each kind of report says, kept as text: a change of wording or of the tree is seen before it is sent.

Run with UPDATE_GOLDEN=1 to write the files anew, then read the difference.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dicom_node import __version__
from dicom_node.report.package import compose
from dicom_node.report.reading import describe
from tests.conformance import report_cases as cases

FOLDER = Path(__file__).parent / "reports"
CASES = cases.outcomes()


def tree(item, depth=0):
    for child in item.get("ContentSequence") or []:
        value = ""
        if child.ValueType == "CODE":
            value = child.ConceptCodeSequence[0].CodeMeaning
        elif child.ValueType == "TEXT":
            value = child.TextValue
        elif child.ValueType == "NUM":
            measured = child.MeasuredValueSequence[0]
            value = f"{measured.NumericValue} {measured.MeasurementUnitsCodeSequence[0].CodeValue}"
        elif child.ValueType == "SCOORD":
            value = f"{child.GraphicType} {[round(float(number), 2) for number in child.GraphicData]}"
        name = child.ConceptNameCodeSequence[0].CodeMeaning
        yield f"{'  ' * depth}{child.RelationshipType} {child.ValueType} {name}{f' = {value}' if value else ''}"
        yield from tree(child, depth + 1)


@pytest.mark.parametrize("name", CASES)
def test_words_and_tree_are_as_they_were(name):
    sr = compose(CASES[name])[-1].dataset
    lines = [sr.SeriesDescription, "", *describe(sr), "", *tree(sr)]
    text = "\n".join(lines).replace(__version__, "VERSION") + "\n"
    path = FOLDER / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN") == "1":
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text
