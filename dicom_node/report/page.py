"""The summary page: what most archives show of a result, so it alone tells the whole of it to a person."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from dicom_node import __version__
from dicom_node.core.findings import Outcome
from dicom_node.report.canvas import CLEAR_BOTTOM, CLEAR_TOP
from dicom_node.report.display import in_proportion
from dicom_node.report.drawing import ACCENTS, MUTED, PANEL, Column, Sheet, shortened, width_of, wrapped, write
from dicom_node.report.heatmap import outline, without_glare
from dicom_node.report.heatmap_page import heatmap_numbers, superseding
from dicom_node.report.identity import dated
from dicom_node.report.measurement_groups import shown_regions
from dicom_node.report.narrative import DISCLAIMER, WORDS, main_sentence, percent, regions_in_words
from dicom_node.report.probability_scale import applied, large_scale, small_scale, thin_scale, thresholds
from dicom_node.report.provenance import algorithm_name
from dicom_node.report.sources import image_size, label_of, pixel_shape, sop_instance_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicom_node.report.request import ReportRequest, SourceView

WIDTH = 1024
_INSIDE = WIDTH - 2 * 40
_ONE_COLUMN = 3
_MOST_ROWS = 8
_GAP = 12
#: A row is as high as the page lets it be, so that the picture of a single view is large enough to be recognised.
_LOWEST_ROW, _LOWEST_CROWDED, _HIGHEST_ROW = 124, 140, 364
#: From this width on, a row has room for its bar beside its words.
_WIDE = 600
#: From this width on, words may be larger.
_READABLE = 400
_FOOTER = 190
_SMALL = 16
_LIMITS = (
    "Looks for fractures only; other findings are not assessed. A negative result does not exclude a fracture. "
    "Read the original images."
)
_NOT_READ = "The algorithm has not read this study. Read the original images."
#: Which views are shown where there are more than fit: the ones a reader must know of first.
_URGENCY = (Outcome.POSITIVE, Outcome.INCONCLUSIVE, Outcome.NOT_ANALYSED, Outcome.NEGATIVE)


@dataclass(frozen=True)
class _Row:
    """One view on the page; image: the number of its evidence map in the series, None where it has none."""

    view: SourceView
    number: int
    image: int | None
    marks: list[tuple[float, str]]


def summary_page(request: ReportRequest) -> NDArray[np.uint8]:
    """Return the page as RGB, a square of at least 1024 pixels a side."""
    shown, left_out = _chosen(request)
    columns = 1 if len(shown) <= _ONE_COLUMN else 2
    lines = -(-len(shown) // columns)
    header = 350 if request.finding.probability is not None else 278
    unpictured = _unpictured(left_out)
    titles = 36 + 21 * max(2, len(unpictured)) if unpictured else 30
    around = header + (26 if _is_demonstration(request) else 0) + titles + _FOOTER
    clear = 1.0 - CLEAR_TOP - CLEAR_BOTTOM
    highest = _HIGHEST_ROW if any(row.view.display is not None for row in shown) else _LOWEST_ROW
    lowest = _LOWEST_ROW if columns == 1 else _LOWEST_CROWDED
    height = max(lowest, min(highest, (math.floor(clear * WIDTH) - around) // lines))
    side = max(WIDTH, math.ceil((around + lines * height) / clear))
    sheet = Sheet(side, side)
    column = _headline(sheet, request)
    if request.finding.probability is not None:
        column.gap(12)
        name = "Highest probability" if len(request.views) > 1 else "Probability"
        large_scale(column, name, request.finding.probability, thresholds(request.gate, applied(request)))
    column.gap(16)
    _title(column, request, unpictured)
    width = (_INSIDE - 16 * (columns - 1)) // columns
    for index, row in enumerate(shown):
        x, y = column.x + (index % columns) * (width + 16), column.y + (index // columns) * height
        _draw_row(Column(sheet, x, y, width), row, height - _GAP)
    _footer(sheet, request)
    return np.asarray(sheet.image)


def _headline(sheet: Sheet, request: ReportRequest) -> Column:
    finding = request.finding
    accent = ACCENTS[finding.outcome]
    side = sheet.image.width
    sheet.box((0, 0, side, 10), accent)
    column = Column(sheet, (side - _INSIDE) // 2, math.ceil(CLEAR_TOP * side), _INSIDE)
    revision = f", {superseding(request)}" if request.version > 1 else ""
    column.line(f"AI fracture triage: result of the study{revision}", 20, MUTED)
    column.gap(2)
    column.line(WORDS[finding.outcome], 72, accent, bold=1)
    column.gap(4)
    column.paragraph(main_sentence(finding), 22, lines=2)
    if finding.reason is not None:
        column.paragraph(f"Reason: {finding.reason.text}", 20, MUTED, lines=2)
    if _is_demonstration(request):
        column.line("Demonstration model: not a clinical answer.", 20, ACCENTS[Outcome.INCONCLUSIVE])
    return column


def _is_demonstration(request: ReportRequest) -> bool:
    return request.finding.model is not None and request.finding.model.demonstration


def _chosen(request: ReportRequest) -> tuple[list[_Row], list[_Row]]:
    """Return the views to show with their numbers, in the study's order, and the less urgent that do not fit."""
    images = heatmap_numbers(request)
    rows = [
        _Row(view, number, images.get(sop_instance_of(view)), thresholds(request.gate, view.finding.negative_below))
        for number, view in enumerate(request.views, start=1)
    ]
    urgent = sorted(rows, key=lambda row: _URGENCY.index(row.view.finding.outcome))
    shown = {row.number for row in urgent[:_MOST_ROWS]}
    return [row for row in rows if row.number in shown], [row for row in rows if row.number not in shown]


def _unpictured(left_out: list[_Row]) -> list[str]:
    """Return the lines that name each view without a picture, as many as it takes: none may be missing here."""
    others = ", ".join(f"{row.number} {_answer(row.view)}" for row in left_out)
    return wrapped(f"Not pictured: view {others}", _SMALL, _INSIDE, 1 + len(left_out)) if left_out else []


def _title(column: Column, request: ReportRequest, unpictured: list[str]) -> None:
    count = len(heatmap_numbers(request))
    maps = f"; evidence maps: {f'images 2 to {count + 1}' if count > 1 else 'image 2'} of this series" if count else ""
    column.line(f"Images of this study: {len(request.views)}{maps}", 18, MUTED)
    for line in unpictured:
        column.line(line, _SMALL)
    column.gap(4)


def _answer(view: SourceView) -> str:
    finding = view.finding
    word = WORDS[finding.outcome]
    return word if finding.probability is None else f"{word}  {percent(finding.probability)}"


def _draw_row(column: Column, row: _Row, height: int) -> None:
    sheet, view, x, y = column.sheet, row.view, column.x, column.y
    sheet.box((x, y, x + column.width, y + height), PANEL)
    sheet.box((x, y, x + 5, y + height), ACCENTS[view.finding.outcome])
    wide = column.width >= _WIDE
    box = (min(round(1.2 * height), column.width // (2 if wide else 3)), height - 8)
    if view.display is None:
        write(sheet, (x + 30, y + height // 2 - 10), "no picture", _SMALL, MUTED)
    else:
        small = _thumbnail(view, box)
        sheet.paste(small, x + 12 + (box[0] - small.shape[1]) // 2, y + 4 + (box[1] - small.shape[0]) // 2)
    left = x + box[0] + 28
    _words(Column(sheet, left, y + 8, x + column.width - 12 - left), row, y + height - 4)


def _words(text: Column, row: _Row, bottom: int) -> None:
    """Write what is said of one view, its bar where there is room: to the right, below the answer, or at the foot."""
    finding = row.view.finding
    whole, low = text.width, bottom - text.y < _LOWEST_CROWDED
    beside, crowded = whole >= _WIDE, low and whole < _WIDE
    bar = Column(text.sheet, text.x + whole - 290, text.y + 4, 280)
    text.width -= 310 if beside else 0
    _name(text, row, 16 if whole < _READABLE else 18)
    text.line(_answer(row.view), 22 if crowded else 24, ACCENTS[finding.outcome])
    if crowded and finding.probability is not None:
        bottom -= 14
        thin_scale(Column(text.sheet, text.x, bottom + 2, whole), finding.probability, row.marks, 1.0)
    elif not crowded:
        small_scale(bar if beside else text, finding, row.marks, 1.0)
    text.width = whole
    size = 15 if whole < _READABLE else 17
    text.paragraph(_remarks(row), size, lines=max(1, int((bottom - text.y) / (1.3 * size))))


def _name(text: Column, row: _Row, size: int) -> None:
    """Write what the view is called and where its map is; where there is too little room, the view's words are cut."""
    label = label_of(row.view)
    name, where = f"View {row.number}{': ' + label if label else ''}", f", map: image {row.image}" if row.image else ""
    text.line(shortened(name, size, text.width - width_of(where, size)) + where, size, MUTED)


def _remarks(row: _Row) -> str:
    """Return the reason, then the regions: dots end what is cut."""
    finding = row.view.finding
    parts = []
    if finding.reason is not None:
        parts.append(finding.reason.text[:1].upper() + finding.reason.text[1:])
    if shown_regions(finding):
        parts.append(regions_in_words(finding).capitalize())
    return " ".join(part if part.endswith(".") else f"{part}." for part in parts)


def _thumbnail(view: SourceView, box: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a small picture with its outlines: enough to know which image is meant, not to read it."""
    if view.display is None:
        return np.zeros((1, 1, 3), dtype=np.uint8)
    grey = in_proportion(view.display, pixel_shape(view))
    scale = min(box[0] / grey.shape[1], box[1] / grey.shape[0])
    size = (max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale)))
    way = cv2.INTER_AREA if scale < 1.0 else cv2.INTER_CUBIC
    small = without_glare(cv2.resize(grey, size, interpolation=way))
    picture: NDArray[np.uint8] = cv2.merge([small, small, small])
    rows, columns = image_size(view)
    outline(picture, shown_regions(view.finding), (size[1] / rows, size[0] / columns), 1)
    return picture


def _footer(sheet: Sheet, request: ReportRequest) -> None:
    model = request.finding.model
    side = sheet.image.width
    column = Column(sheet, (side - _INSIDE) // 2, math.floor((1.0 - CLEAR_BOTTOM) * side) - _FOOTER + 16, _INSIDE)
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
