"""One of our own reports read back into plain words, from its content tree alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dicom_node.report import codes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydicom.dataset import Dataset
    from pydicom.sr.coding import Code

_TRACKING = "112039"


def describe(sr: Dataset) -> tuple[str, ...]:
    """Return the outcome, probability, reason, each view, each region and the model, a line each.

    Only what the tree holds is said: a report without a probability gives no probability line.
    """
    containers = [*_children(sr, codes.FINDINGS), *_children(sr, codes.IMAGING_MEASUREMENTS)]
    groups = [group for holder in containers for group in _children(holder, codes.MEASUREMENT_GROUP)]
    if not groups:
        return ("not a report of this node: no measurement group",)
    study = groups[0]
    lines = [f"Outcome: {_meaning(study, codes.OUTCOME) or 'unknown'}"]
    lines += [f"Presence of fracture: {value}" for value in [_meaning(study, codes.PRESENCE)] if value]
    lines += [f"Probability: {value}" for value in [_number(study, codes.PROBABILITY)] if value]
    lines += [f"Reason: {value}" for value in [_text(study, codes.REASON.value)] if value]
    lines += [_group_line(group) for group in groups[1:]]
    name, version = _text(study, codes.ALGORITHM_NAME.value), _text(study, codes.ALGORITHM_VERSION.value)
    lines.append(f"Algorithm: {name}, version {version}")
    lines += [f"Comment: {value}" for value in [_text(study, codes.COMMENT.value)] if value]
    flags = (sr.get("CompletionFlag", ""), sr.get("VerificationFlag", ""), sr.get("PreliminaryFlag", ""))
    lines.append(f"Status: {', '.join(str(flag).lower() for flag in flags if flag)}")
    return tuple(lines)


def _group_line(group: Dataset) -> str:
    name = _text(group, _TRACKING).rpartition(": ")[2]
    where = [item for item in group.ContentSequence if item.ValueType == "SCOORD"]
    if where:
        data = [float(value) for value in where[0].GraphicData]
        x, y = data[0::2], data[1::2]
        return f"{name.capitalize()}: x {min(x):.0f}-{max(x):.0f}, y {min(y):.0f}-{max(y):.0f} pixels"
    told = _text(group, codes.IMAGE_REGION.value)  # a Basic Text SR holds the outline as text
    if told:
        return f"{name.capitalize()}: {told.partition(' of the original')[0]}"
    parts = [
        _meaning(group, codes.OUTCOME),
        _number(group, codes.PROBABILITY),
        _text(group, codes.REASON.value),
    ]
    return f"{name.capitalize()}: {'; '.join(part for part in parts if part)}"


def _children(parent: Dataset, name: Code) -> Iterator[Dataset]:
    for item in parent.get("ContentSequence") or []:
        if item.ValueType == "CONTAINER" and _name(item) == name.value:
            yield item


def _name(item: Dataset) -> str:
    return _code_value(item.ConceptNameCodeSequence[0]) if item.get("ConceptNameCodeSequence") else ""


def _code_value(code: Dataset) -> str:
    return str(code.get("CodeValue") or code.get("LongCodeValue") or "")


def _items(group: Dataset, name: str, *value_types: str) -> list[Dataset]:
    return [item for item in group.ContentSequence if item.ValueType in value_types and _name(item) == name]


def _meaning(group: Dataset, name: Code) -> str:
    found = _items(group, name.value, "CODE")
    return str(found[0].ConceptCodeSequence[0].CodeMeaning) if found else ""


def _text(group: Dataset, name: str) -> str:
    found = _items(group, name, "TEXT")
    return str(found[0].TextValue) if found else ""


def _number(group: Dataset, name: Code) -> str:
    """Return a number with its unit; a Basic Text SR holds it as text."""
    found = _items(group, name.value, "NUM")
    if not found:
        return _text(group, name.value)
    measured = found[0].MeasuredValueSequence[0]
    return f"{measured.NumericValue} {measured.MeasurementUnitsCodeSequence[0].CodeValue}"
