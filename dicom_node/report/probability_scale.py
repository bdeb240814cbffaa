"""The probability as a bar from 0 to 100 %, with the thresholds that the decision used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dicom_node.core.decision import Policy
from dicom_node.report.drawing import MUTED, PANEL, TEXT, anchored, width_of, write
from dicom_node.report.narrative import percent

if TYPE_CHECKING:
    from dicom_node.core.decision import Gate
    from dicom_node.core.findings import ViewFinding
    from dicom_node.report.drawing import Colour, Column
    from dicom_node.report.request import ReportRequest

_SMALL = 16
_LABEL_GAP = 16
_FILL: Colour = (120, 122, 126)
_TRACK: Colour = (52, 54, 58)


def large_scale(column: Column, name: str, probability: float, marks: list[tuple[float, str]]) -> None:
    """Draw the study's bar, 56 pixels high, every mark with its words."""
    sheet, left, right = column.sheet, column.x, column.x + column.width
    label = f"{name} {percent(probability)}"
    at = left + probability * column.width
    write(sheet, (anchored(label, 20, at, (left, right), "middle"), column.y), label, 20)
    top = column.y + 40
    sheet.box((left, top, right, top + 22), PANEL)
    sheet.box((left, top, at, top + 22), _FILL)
    sheet.draw.polygon([(at - 8, top - 10), (at + 8, top - 10), (at, top + 1)], fill=TEXT)
    for (value, text), start in zip(marks, label_starts(marks, left, right), strict=True):
        x = left + value * column.width
        sheet.box((x - 1, top - 4, x + 1, top + 30), TEXT)
        write(sheet, (start, top + 32), text, _SMALL, MUTED)
    column.y = top + 56


def small_scale(column: Column, finding: ViewFinding, marks: list[tuple[float, str]], unit: float) -> None:
    """Draw one view's bar with its marks as ticks, and their words below; unit: pixels of the page's grid."""
    if finding.probability is None:
        return
    column.gap(5 * unit)
    thin_scale(column, finding.probability, marks, unit)
    column.gap(15 * unit)
    size = round(14 * unit)
    together = ", ".join(text for _, text in marks)
    if not marks:
        return
    for line in [together] if width_of(together, size) <= column.width else [text for _, text in marks]:
        column.line(line, size, MUTED)


def thin_scale(column: Column, probability: float, marks: list[tuple[float, str]], unit: float) -> None:
    """Draw a bar of 8 units with its marks as ticks and no words, at the column's place, which stays where it is."""
    sheet, left, right = column.sheet, column.x, column.x + column.width
    top, bottom = column.y, column.y + round(8 * unit)
    sheet.box((left, top, right, bottom), _TRACK)
    sheet.box((left, top, left + probability * column.width, bottom), _FILL)
    for value, _ in marks:
        x = left + value * column.width
        sheet.box((x - unit, top - 4 * unit, x + unit, bottom + 4 * unit), TEXT)


def label_starts(marks: list[tuple[float, str]], left: int, right: int) -> list[float]:
    """Return where each threshold's label begins: the lower one ends at its mark, the upper one begins at its own."""
    if not marks:
        return []
    at = [left + value * (right - left) for value, _ in marks]
    widths = [width_of(text, _SMALL) for _, text in marks]
    low = max(left, at[0] - widths[0])
    if len(marks) == 1:
        return [low]
    high = min(max(at[1], low + widths[0] + _LABEL_GAP), right - widths[1])
    return [min(low, high - _LABEL_GAP - widths[0]), high]


def applied(request: ReportRequest) -> float | None:
    """Return the lower threshold that the likeliest view was held against; None where its body region has none."""
    scored = [view.finding for view in request.views if view.finding.probability is not None]
    likeliest = max(scored, key=lambda finding: finding.probability or 0.0, default=None)
    return likeliest.negative_below if likeliest else None


def thresholds(gate: Gate | None, low: float | None) -> list[tuple[float, str]]:
    """Return the marks; the localisation policy has no upper threshold, so none is drawn for it."""
    if gate is None or low is None:
        return []
    marks = [(low, f"negative below {percent(low)}")]
    if gate.policy is Policy.CERTIFIED:
        high = max(low, gate.p_high)
        marks.append((high, f"positive from {percent(high)}"))
    return marks
