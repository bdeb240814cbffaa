"""One view's heatmap: the radiograph with its evidence, and what is said about it beside the picture, never over it."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import cv2
import numpy as np

from dicom_node.report.drawing import ACCENTS, MUTED, Column, Sheet, width_of, write
from dicom_node.report.heatmap import blend, colour_bar, outline, share_of_maximum
from dicom_node.report.identity import dated
from dicom_node.report.measurement_groups import shown_regions
from dicom_node.report.narrative import DISCLAIMER, WORDS, percent, regions_in_words
from dicom_node.report.provenance import algorithm_name
from dicom_node.report.request import NO_MODEL
from dicom_node.report.sources import image_size, label_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicom_node.core.radiograph import EvidenceMap
    from dicom_node.report.drawing import Colour
    from dicom_node.report.request import ReportRequest, SourceView

#: A smaller radiograph is enlarged on its page, so that the outline and the legend keep their proportion to it.
_SHORTEST_LONG_SIDE = 1000
_READ_AT = 1024
_KINDS = {
    "evidence": "The colours show where the score comes from.",
    "localiser": "The colours show where a second head, trained on drawn boxes, expects a fracture.",
}


def heatmap_page(request: ReportRequest, view: SourceView, number: int) -> NDArray[np.uint8]:
    """Return the page of one view as RGB, its legend to the right of a tall picture and below a wide one."""
    picture = overlaid(view)
    rows, columns = picture.shape[:2]
    beside = rows >= 0.8 * columns
    extra = round(0.42 * max(rows, columns))
    size = (columns + extra, rows) if beside else (columns, rows + extra)
    sheet = Sheet(*size)
    sheet.paste(picture, 0, 0)
    unit = max(size) / _READ_AT
    margin = round(20 * unit)
    if beside:
        column = Column(sheet, columns + margin, margin, extra - 2 * margin)
        _result(column, request, (view, number), unit)
        column.gap(16 * unit)
        _explanation(column, view, unit)
        column.y = max(column.y, rows - round(210 * unit))
        _provenance(column, request, unit)
    else:
        half = columns // 2 - round(1.5 * margin)
        left = Column(sheet, margin, rows + margin, half)
        _result(left, request, (view, number), unit)
        right = Column(sheet, columns // 2 + margin // 2, rows + margin, half)
        _explanation(right, view, unit)
        right.y = max(right.y, rows + extra - round(210 * unit))
        _provenance(right, request, unit)
    return np.asarray(sheet.image)


def overlaid(view: SourceView) -> NDArray[np.uint8]:
    """Return the radiograph with heat and outlines, in its own orientation and proportions."""
    if view.display is None:
        message = f"{view.finding.sop_instance_uid}: there is no picture to draw a heatmap on"
        raise ValueError(message)
    grey = _enlarged(view.display)
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
    column.line(regions_in_words(finding).capitalize(), body)
    if finding.reason is not None:
        column.paragraph(f"Reason: {finding.reason.text}", body, lines=4)
    study = WORDS[request.finding.outcome]
    column.line(f"Study result: {study}", body)
    column.line("See the summary page for the full result.", small, MUTED)


def _explanation(column: Column, view: SourceView, unit: float) -> None:
    small = round(15 * unit)
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


def _has_heat(shown: EvidenceMap) -> bool:
    return bool(share_of_maximum(shown, *shown.values.shape).any())


def _provenance(column: Column, request: ReportRequest, unit: float) -> None:
    small = round(15 * unit)
    model = request.finding.model
    column.rule()
    column.gap(10 * unit)
    column.paragraph(algorithm_name(model), small, lines=2)
    digest = model.bundle_sha256[:12] if model else NO_MODEL
    column.line(f"Version {model.version if model else '-'}, digest {digest}", small, MUTED)
    made = dated(request.made_at, request.views[0].header)
    column.line(f"Made {made:%Y-%m-%d %H:%M:%S} {made.tzname() or ''}", small, MUTED)
    if request.version > 1:
        column.line(superseding(request).capitalize(), small, MUTED)
    column.gap(6 * unit)
    column.paragraph(DISCLAIMER, small, lines=3)


def superseding(request: ReportRequest) -> str:
    """Say which version this one replaces, nothing for the first."""
    return f"version {request.version}, supersedes version {request.version - 1}" if request.version > 1 else ""
