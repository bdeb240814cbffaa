"""One view's heatmap: the radiograph with its evidence, and what is said about it beside the picture, never over it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

import cv2
import numpy as np

from dicom_node.core.findings import Outcome
from dicom_node.report.canvas import CLEAR_BOTTOM, CLEAR_TOP
from dicom_node.report.display import in_proportion
from dicom_node.report.drawing import ACCENTS, BACKGROUND, MUTED, Column, Sheet, width_of, write
from dicom_node.report.heatmap import blend, colour_bar, glares, outline, share_of_maximum, without_glare
from dicom_node.report.identity import dated
from dicom_node.report.measurement_groups import shown_regions
from dicom_node.report.narrative import DISCLAIMER, WORDS, percent, regions_in_words
from dicom_node.report.probability_scale import small_scale, thresholds
from dicom_node.report.provenance import algorithm_name
from dicom_node.report.request import NO_MODEL
from dicom_node.report.sources import image_size, label_of, pixel_shape, sop_instance_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicom_node.core.findings import Region
    from dicom_node.core.radiograph import EvidenceMap
    from dicom_node.report.drawing import Colour
    from dicom_node.report.request import ReportRequest, SourceView

#: A smaller radiograph is enlarged on its page, so that the outline and the legend keep their proportion to it.
_SHORTEST_LONG_SIDE = 1000
_READ_AT = 1024
#: A picture lower than this share of its width gets its legend below it.
_SQUARE = 0.9
_SMALLEST_DETAIL = 130
_KINDS = {
    "evidence": "The colours show where the score comes from.",
    "localiser": "The colours show where a second head, trained on drawn boxes, expects a fracture.",
}


def heatmap_numbers(request: ReportRequest) -> dict[str, int]:
    """Return the number in the series of each view's heatmap, by SOP Instance UID; the summary page is number 1."""
    wanted = {Outcome.POSITIVE, Outcome.INCONCLUSIVE}
    if request.options.negative_heatmaps:
        wanted.add(Outcome.NEGATIVE)
    shown = [view for view in request.views if view.display is not None and view.shown_map is not None]
    drawn = [sop_instance_of(view) for view in shown if view.finding.outcome in wanted]
    return {uid: number for number, uid in enumerate(drawn, start=2)}


def heatmap_page(request: ReportRequest, view: SourceView, number: int) -> NDArray[np.uint8]:
    """Return the page of one view as RGB, its legend to the right of a tall picture and below a wide one.

    The page grows where the legend needs it: words are never cut off by its edge. None stands where viewers write
    their own once the page lies on its square.
    """
    bright = _picture(view)
    rows, columns = bright.shape
    beside = rows >= _SQUARE * columns
    extra = round(0.42 * max(rows, columns))
    side = max(columns + extra, rows) if beside else max(columns, rows + extra)
    unit = side / _READ_AT
    margin = round(20 * unit)
    spare = (side - (rows if beside else rows + extra)) // 2
    bottom = max(margin, math.ceil(CLEAR_BOTTOM * side) - spare)
    if beside:
        legend = Sheet(extra, 2 * rows)
        top = max(margin, math.ceil(CLEAR_TOP * side) - spare)
        parts = [Column(legend, margin, top, extra - 2 * margin)] * 3
    else:
        legend = Sheet(columns, 3 * extra)
        third = (columns - 4 * margin) // 3
        parts = [Column(legend, margin + place * (third + margin), margin, third) for place in range(3)]
    _result(parts[0], request, (view, number), unit)
    _explanation(parts[1], view, unit)
    _provenance(parts[1], request, unit)
    lowest = max(rows if beside else extra, *(part.y + bottom for part in parts))
    _detail(parts[2], view, bright, (lowest - bottom, unit))
    return _joined(_overlaid(bright, view), legend.pixels(lowest), beside=beside)


def _joined(picture: NDArray[np.uint8], legend: NDArray[np.uint8], *, beside: bool) -> NDArray[np.uint8]:
    """Return picture and legend as one page, with what lies below a lower picture in the page's own colour."""
    if not beside:
        return np.concatenate((picture, legend), axis=0)
    below = np.full((legend.shape[0] - picture.shape[0], picture.shape[1], 3), BACKGROUND, dtype=np.uint8)
    return np.concatenate((np.concatenate((picture, below), axis=0), legend), axis=1)


def overlaid(view: SourceView) -> NDArray[np.uint8]:
    """Return the radiograph with heat and outlines, in its own orientation and proportions."""
    return _overlaid(_picture(view), view)


def _picture(view: SourceView) -> NDArray[np.uint8]:
    if view.display is None:
        message = f"{view.finding.sop_instance_uid}: there is no picture to draw a heatmap on"
        raise ValueError(message)
    return _enlarged(in_proportion(view.display, pixel_shape(view)))


def _overlaid(bright: NDArray[np.uint8], view: SourceView) -> NDArray[np.uint8]:
    grey = without_glare(bright)
    rows, columns = grey.shape
    if view.shown_map is None:
        picture = cast("NDArray[np.uint8]", cv2.merge([grey, grey, grey]))
    else:
        picture = blend(grey, share_of_maximum(view.shown_map, rows, columns))
    original = image_size(view)
    scale = (rows / original[0], columns / original[1])
    outline(picture, shown_regions(view.finding), scale, max(2, round(max(rows, columns) / 500)))
    return picture


def _enlarged(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    longest = max(grey.shape)
    if longest >= _SHORTEST_LONG_SIDE:
        return grey
    scale = _SHORTEST_LONG_SIDE / longest
    size = (max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale)))
    return cast("NDArray[np.uint8]", cv2.resize(grey, size, interpolation=cv2.INTER_CUBIC))


def _result(column: Column, request: ReportRequest, numbered: tuple[SourceView, int], unit: float) -> None:
    view, number = numbered
    finding = view.finding
    accent: Colour = ACCENTS[finding.outcome]
    small, body = round(15 * unit), round(18 * unit)
    column.sheet.box((column.x, column.y, column.x + column.width, column.y + round(5 * unit)), accent)
    column.gap(16 * unit)
    column.line(f"AI fracture triage: view {number} of {len(request.views)}", body, MUTED)
    label = label_of(view)
    if label:
        column.line(label, body)
    word = WORDS[finding.outcome]
    large = round(46 * unit)
    while width_of(word, large) > column.width - 4 * unit:
        large -= 1
    column.gap(4 * unit)
    column.line(word, large, accent, bold=1)
    column.gap(4 * unit)
    if finding.probability is not None:
        column.line(f"Probability {percent(finding.probability)}", round(24 * unit))
        small_scale(column, finding, thresholds(request.gate, finding.negative_below), unit)
        column.gap(6 * unit)
    column.line(regions_in_words(finding).capitalize(), body)
    if finding.reason is not None:
        column.paragraph(f"Reason: {finding.reason.text}", body, lines=5)
    study = WORDS[request.finding.outcome]
    column.line(f"Study result: {study}", body)
    column.paragraph("The whole result: image 1 of this series.", small, MUTED, lines=2)
    column.gap(16 * unit)


def _explanation(column: Column, view: SourceView, unit: float) -> None:
    small = round(15 * unit)
    if view.display is not None and glares(view.display):
        column.paragraph("Picture dimmed: much of it is white.", small, MUTED, lines=2)
    height = round(16 * unit)
    if view.shown_map is not None and not _has_heat(view.shown_map):
        column.paragraph("Nothing is coloured: no place in this image stands out.", small, MUTED, lines=2)
    elif view.shown_map is not None:
        sheet = column.sheet
        sheet.paste(colour_bar(height, column.width), column.x, column.y)
        column.gap(height + 5 * unit)
        write(sheet, (column.x, column.y), "none", small, MUTED)
        most = "most in this image"
        write(sheet, (column.x + column.width - width_of(most, small), column.y), most, small, MUTED)
        column.gap(24 * unit)
        rows, columns = view.shown_map.values.shape
        text = _KINDS.get(view.shown_map.kind, "The colours show the model's map.")
        grid = f"Grid of {rows} x {columns} cells, interpolated: finer detail has no meaning."
        column.paragraph(f"{text} Relative to this image, not a probability. {grid}", small, MUTED, lines=6)
    if shown_regions(view.finding):
        column.paragraph("White line: region outlined by the algorithm.", small, MUTED, lines=2)


def _detail(column: Column, view: SourceView, grey: NDArray[np.uint8], room: tuple[int, float]) -> None:
    """Show the first region once more, enlarged and without colours, where the legend leaves room for it.

    room: the lowest row of the page to use, and its unit.
    """
    regions = shown_regions(view.finding)
    lowest, unit = room
    column.gap(14 * unit)
    caption = round(15 * unit)
    size = min(column.width, lowest - column.y - 2 * caption)
    if not regions or size < _SMALLEST_DETAIL * unit:
        return
    part = without_glare(_surroundings(grey, regions[0], image_size(view)))
    way = cv2.INTER_CUBIC if part.shape[0] < size else cv2.INTER_AREA
    enlarged = cv2.resize(part, (size, size), interpolation=way)
    name = "region 1" if len(regions) > 1 else "the region"
    column.line(f"Around {name}, without colours", caption, MUTED)
    column.sheet.paste(cast("NDArray[np.uint8]", cv2.merge([enlarged] * 3)), column.x, column.y)


def _surroundings(grey: NDArray[np.uint8], region: Region, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a square of the picture with a region in its middle, moved inwards at an edge; size: of the original."""
    points = np.array(region.points, dtype=np.float64) * (grey.shape[1] / size[1], grey.shape[0] / size[0])
    low, high = points.min(axis=0), points.max(axis=0)
    side = max(2.2 * float((high - low).max()), 0.2 * max(grey.shape))
    side = max(1, min(round(side), *grey.shape))
    left, top = ((low + high) / 2 - side / 2).round().astype(int)
    left, top = (max(0, min(int(start), room - side)) for start, room in ((left, grey.shape[1]), (top, grey.shape[0])))
    return grey[top : top + side, left : left + side]


def _has_heat(shown: EvidenceMap) -> bool:
    return bool(share_of_maximum(shown, *shown.values.shape).any())


def _provenance(column: Column, request: ReportRequest, unit: float) -> None:
    small = round(15 * unit)
    model = request.finding.model
    column.gap(10 * unit)
    column.rule()
    column.gap(10 * unit)
    column.paragraph(algorithm_name(model), small, lines=2)
    digest = model.bundle_sha256[:12] if model else NO_MODEL
    column.paragraph(f"Version {model.version if model else '-'}, digest {digest}", small, MUTED, lines=2)
    made = dated(request.made_at, request.views[0].header)
    column.paragraph(f"Made {made:%Y-%m-%d %H:%M:%S} {made.tzname() or ''}", small, MUTED, lines=2)
    if request.version > 1:
        column.paragraph(superseding(request).capitalize(), small, MUTED, lines=2)
    column.gap(6 * unit)
    column.paragraph(DISCLAIMER, small, lines=3)


def superseding(request: ReportRequest) -> str:
    """Say which version this one replaces, nothing for the first."""
    return f"version {request.version}, supersedes version {request.version - 1}" if request.version > 1 else ""
