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
#: The richest report of every case, and every rung of the ladder of one that has all there is.
REPORTS = [*((name, "sr") for name in CASES)]
REPORTS += [("positive-and-negative", kind) for kind in ("sr-33", "sr-22", "sr-11")]


def code(item):
    value = item.get("CodeValue") or item.get("LongCodeValue")
    return f'({value},{item.CodingSchemeDesignator},"{item.CodeMeaning}")'


def value_of(item, called):
    if item.ValueType == "CODE":
        return code(item.ConceptCodeSequence[0])
    if item.ValueType == "TEXT":
        return f'"{item.TextValue}"'
    if item.ValueType == "NUM":
        measured = item.MeasuredValueSequence[0]
        return f'"{measured.NumericValue}" {code(measured.MeasurementUnitsCodeSequence[0])}'
    if item.ValueType == "SCOORD":
        return f"{item.GraphicType} {[round(float(number), 2) for number in item.GraphicData]}"
    if item.ValueType == "IMAGE":
        return called[item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID]
    return "UID" if item.ValueType == "UIDREF" else ""


def tree(item, called, depth=0):
    """Yield a line for each content item, as dsrdump prints them; UIDs by what they stand for."""
    for child in item.get("ContentSequence") or []:
        value = value_of(child, called)
        name = code(child.ConceptNameCodeSequence[0])
        relation = child.RelationshipType.lower()
        yield f"{'  ' * depth}<{relation} {child.ValueType}:{name}{f'={value}' if value else ''}>"
        yield from tree(child, called, depth + 1)


@pytest.mark.parametrize(("name", "kind"), REPORTS)
def test_words_and_tree_are_as_they_were(name, kind):
    objects = compose(CASES[name])
    called = {view.finding.sop_instance_uid: f"image {n}" for n, view in enumerate(CASES[name].views, 1)}
    called |= {made.sop_instance_uid: f"page {made.dataset.InstanceNumber}" for made in objects if made.kind == "sc"}
    (sr,) = [made.dataset for made in objects if made.kind == kind]
    lines = [sr.SOPClassUID.name, sr.SeriesDescription, "", *describe(sr), "", *tree(sr, called)]
    text = "\n".join(lines).replace(__version__, "VERSION") + "\n"
    path = FOLDER / f"{name}{kind.removeprefix('sr')}.txt"
    if os.environ.get("UPDATE_GOLDEN") == "1":
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text
