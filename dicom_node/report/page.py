"""The summary page: what most archives show of a result, so it alone tells the whole of it to a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from dicom_node import __version__
from dicom_node.core.decision import Policy
from dicom_node.core.findings import Outcome
from dicom_node.report.drawing import (
    ACCENTS,
    MUTED,
    PANEL,
    TEXT,
    Column,
    Sheet,
    anchored,
    width_of,
    write,
)
from dicom_node.report.heatmap import outline
from dicom_node.report.heatmap_page import superseding
from dicom_node.report.identity import dated
from dicom_node.report.measurement_groups import shown_regions
from dicom_node.report.narrative import DISCLAIMER, WORDS, main_sentence, percent, regions_in_words
from dicom_node.report.provenance import algorithm_name
from dicom_node.report.sources import image_size, label_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicom_node.core.decision import Gate
    from dicom_node.report.request import ReportRequest, SourceView

WIDTH = 1024
_MARGIN = 40
_INSIDE = WIDTH - 2 * _MARGIN
_ONE_COLUMN = 4
_MOST_ROWS = 8
_ROW = 124
_THUMBNAIL = (132, 104)
_FOOTER = 236
_SMALL = 16
_LABEL_GAP = 16
_LIMITS = (
    "Looks for fractures only; other findings are not assessed. A negative result does not exclude a fracture. "
    "Read the original images."
)
_NOT_READ = "The algorithm has not read this study. Read the original images."
#: Which views are shown where there are more than fit: the ones a reader must know of first.
_URGENCY = (Outcome.POSITIVE, Outcome.INCONCLUSIVE, Outcome.NOT_ANALYSED, Outcome.NEGATIVE)


def summary_page(request: ReportRequest) -> NDArray[np.uint8]:
    """Return the page as RGB, 1024 pixels wide and at least as high."""
    shown = _chosen(request.views)
    columns = 1 if len(shown) <= _ONE_COLUMN else 2
    rows = -(-len(shown) // columns)
    header = 372 if request.finding.probability is not None else 300
    height = max(WIDTH, header + 40 + rows * _ROW + _FOOTER)
    sheet = Sheet(WIDTH, height)
    column = _headline(sheet, request)
    if request.finding.probability is not None:
        column.gap(12)
        name = "Highest probability" if len(request.views) > 1 else "Probability"
        _scale(column, name, request.finding.probability, _thresholds(request.gate, _applied(request)))
    column.gap(16)
    _views(column, request, shown, columns)
    _footer(sheet, request)
    return np.asarray(sheet.image)


def _headline(sheet: Sheet, request: ReportRequest) -> Column:
    finding = request.finding
    accent = ACCENTS[finding.outcome]
    sheet.box((0, 0, WIDTH, 10), accent)
    column = Column(sheet, _MARGIN, 30, _INSIDE)
    revision = f", {superseding(request)}" if request.version > 1 else ""
    column.line(f"AI fracture triage: result of the study{revision}", 20, MUTED)
    column.gap(2)
    column.line(WORDS[finding.outcome], 72, accent, bold=1)
    column.gap(4)
    column.paragraph(main_sentence(finding), 22, lines=2)
    if finding.reason is not None:
        column.paragraph(f"Reason: {finding.reason.text}", 20, MUTED, lines=2)
    if finding.model is not None and finding.model.demonstration:
        column.line("Demonstration model: not a clinical answer.", 20, ACCENTS[Outcome.INCONCLUSIVE])
    return column


def _scale(column: Column, name: str, probability: float, marks: list[tuple[float, str]]) -> None:
    """Draw the probability on a bar from 0 to 100 %, with the thresholds that the decision used."""
    sheet, left, right = column.sheet, column.x, column.x + column.width
    label = f"{name} {percent(probability)}"
    at = left + probability * column.width
    write(sheet, (anchored(label, 20, at, (left, right), "middle"), column.y), label, 20)
    top = column.y + 40
    sheet.box((left, top, right, top + 22), PANEL)
    sheet.box((left, top, at, top + 22), (120, 122, 126))
    sheet.draw.polygon([(at - 8, top - 10), (at + 8, top - 10), (at, top + 1)], fill=TEXT)
    for (value, text), start in zip(marks, _label_starts(marks, left, right), strict=True):
        x = left + value * column.width
        sheet.box((x - 1, top - 4, x + 1, top + 30), TEXT)
        write(sheet, (start, top + 32), text, _SMALL, MUTED)
    column.y = top + 56


def _label_starts(marks: list[tuple[float, str]], left: int, right: int) -> list[float]:
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


def _applied(request: ReportRequest) -> float | None:
    """Return the lower threshold that the likeliest view was held against; None where its body region has none."""
    scored = [view.finding for view in request.views if view.finding.probability is not None]
    likeliest = max(scored, key=lambda finding: finding.probability or 0.0, default=None)
    return likeliest.negative_below if likeliest else None


def _thresholds(gate: Gate | None, low: float | None) -> list[tuple[float, str]]:
    """Return the marks; the localisation policy has no upper threshold, so none is drawn for it."""
    if gate is None or low is None:
        return []
    marks = [(low, f"negative below {percent(low)}")]
    if gate.policy is Policy.CERTIFIED:
        high = max(low, gate.p_high)
        marks.append((high, f"positive from {percent(high)}"))
    return marks


def _chosen(views: tuple[SourceView, ...]) -> list[tuple[int, SourceView]]:
    """Return the views to show with their numbers, in the study's order; the least urgent are left out."""
    numbered = list(enumerate(views, start=1))
    urgent = sorted(numbered, key=lambda pair: _URGENCY.index(pair[1].finding.outcome))
    return sorted(urgent[:_MOST_ROWS], key=lambda pair: pair[0])


def _views(column: Column, request: ReportRequest, shown: list[tuple[int, SourceView]], columns: int) -> None:
    left_out = len(request.views) - len(shown)
    title = f"Images of this study: {len(request.views)}"
    if left_out:
        title += f" ({left_out} less urgent not shown here; the report lists all)"
    column.line(title, 18, MUTED)
    column.gap(4)
    width = (_INSIDE - 16 * (columns - 1)) // columns
    for index, (number, view) in enumerate(shown):
        x = column.x + (index % columns) * (width + 16)
        y = column.y + (index // columns) * _ROW
        _row(Column(column.sheet, x, y, width), view, number)


def _row(column: Column, view: SourceView, number: int) -> None:
    sheet, finding = column.sheet, view.finding
    x, y = column.x, column.y
    sheet.box((x, y, x + column.width, y + _ROW - 12), PANEL)
    sheet.box((x, y, x + 5, y + _ROW - 12), ACCENTS[finding.outcome])
    if view.display is None:
        write(sheet, (x + 30, y + 46), "no picture", _SMALL, MUTED)
    else:
        small = _thumbnail(view)
        offset = (_THUMBNAIL[0] - small.shape[1]) // 2, (_THUMBNAIL[1] - small.shape[0]) // 2
        sheet.paste(small, x + 12 + offset[0], y + 4 + offset[1])
    text = Column(sheet, x + _THUMBNAIL[0] + 32, y + 8, column.width - _THUMBNAIL[0] - 44)
    label = label_of(view)
    text.line(f"View {number}{': ' + label if label else ''}", 18, MUTED)
    word = WORDS[finding.outcome]
    if finding.probability is not None:
        word = f"{word}   {percent(finding.probability)}"
    text.line(word, 24, ACCENTS[finding.outcome])
    parts = [] if finding.probability is None else [regions_in_words(finding).capitalize() + "."]
    if finding.reason is not None:
        reason = finding.reason.text
        parts.append(reason[:1].upper() + reason[1:])
    text.paragraph(" ".join(parts), 17, lines=2)


def _thumbnail(view: SourceView) -> NDArray[np.uint8]:
    """Return a small picture with its outlines: enough to know which image is meant, not to read it."""
    grey = view.display
    if grey is None:
        return np.zeros((1, 1, 3), dtype=np.uint8)
    scale = min(_THUMBNAIL[0] / grey.shape[1], _THUMBNAIL[1] / grey.shape[0])
    size = (max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale)))
    way = cv2.INTER_AREA if scale < 1.0 else cv2.INTER_CUBIC
    small = cv2.resize(grey, size, interpolation=way)
    picture: NDArray[np.uint8] = cv2.merge([small, small, small])
    rows, columns = image_size(view)
    outline(picture, shown_regions(view.finding), (size[1] / rows, size[0] / columns), 1)
    return picture


def _footer(sheet: Sheet, request: ReportRequest) -> None:
    model = request.finding.model
    column = Column(sheet, _MARGIN, sheet.image.height - _FOOTER + 16, _INSIDE)
    column.rule()
    column.gap(12)
    if model is None:
        column.line("No model was used.", 18)
    else:
        column.line(f"{algorithm_name(model)}, version {model.version}, by {model.manufacturer}", 18)
        column.line(f"Model digest {model.bundle_sha256[:16]}", 18, MUTED)
    made = dated(request.made_at, request.views[0].header)
    software = f"dicom-node {__version__}"
    column.line(f"Made {made:%Y-%m-%d %H:%M:%S} {made.tzname() or ''} by {software}", 18, MUTED)
    column.gap(4)
    limits = _NOT_READ if request.finding.outcome is Outcome.NOT_ANALYSED else _LIMITS
    column.paragraph(limits, 18, MUTED, lines=2)
    column.gap(6)
    column.line(DISCLAIMER, 22)
