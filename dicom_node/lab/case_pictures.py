"""Best and worst cases as one picture: what the model is surest of, rightly and wrongly, and where it looked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from dicom_node.inference.evidence import cell_centre, peak_cell, regions
from dicom_node.lab import layouts
from dicom_node.report import drawing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from dicom_node.core.radiograph import EvidenceMap
    from dicom_node.lab.dataset import Box

TRUE: Final = (96, 214, 255)
"""Colour of the boxes that people drew."""

MODEL: Final = (255, 150, 60)
"""Colour of the model's peak and regions."""

_GAP: Final = 8
_PICTURE: Final = 280
_LINE: Final = 20
_HEADING: Final = 34
_EDGE: Final = 3
_DARK: Final = (0, 0, 0)


@dataclass(frozen=True, slots=True)
class Scored:
    """Images with what is true (fractured, bool [n]) and what the model says (p, float64 [n])."""

    paths: Sequence[Path]
    labels: NDArray[np.bool_]
    p: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Marks:
    """What is drawn on an image: true boxes (x, y, width, height) in pixels of the file, and the model's map."""

    boxes: Sequence[Box] = ()
    shown: EvidenceMap | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """count: images of each kind. threshold: positive from this p on. width: of the sheet, pixels. alpha: of regions.

    A region is where the map reaches alpha times its maximum on the body, as a node draws it.
    """

    count: int = 4
    threshold: float = 0.5
    width: int = 1000
    alpha: float = 0.5


DEFAULT: Final = Look()


def choose(
    labels: NDArray[np.bool_], p: NDArray[np.float64], look: Look = DEFAULT
) -> list[tuple[str, NDArray[np.int64]]]:
    """Return the surest hits, worst misses, worst false alarms and surest correct negatives, as rows, in that order."""
    called = p >= look.threshold
    kinds = (
        ("surest hits", labels & called, -p),
        ("worst misses", labels & ~called, p),
        ("worst false alarms", ~labels & called, -p),
        ("surest correct negatives", ~labels & ~called, p),
    )
    found = []
    for kind, among, order in kinds:
        rows = np.flatnonzero(among)
        found.append((kind, rows[np.argsort(order[rows], kind="stable")][: look.count]))
    return found


def contact_sheet(target: Path, scored: Scored, marks: Callable[[int], Marks], look: Look = DEFAULT) -> Path:
    """Draw the cases into a PNG and return its path; `marks` is asked about the chosen rows only."""
    kinds = choose(scored.labels, scored.p, look)
    row_height = _HEADING + _PICTURE + 2 * _LINE + _GAP
    heights = [row_height if len(rows) else _HEADING + _LINE for _, rows in kinds]
    sheet = drawing.Sheet(look.width, _HEADING + sum(heights) + _GAP)
    _legend(sheet)
    top = _HEADING
    for (kind, rows), height in zip(kinds, heights, strict=True):
        drawing.write(sheet, (_GAP, top + 8), kind.capitalize(), 20)
        if not len(rows):
            drawing.write(sheet, (_GAP, top + _HEADING), "none", 15, drawing.MUTED)
        for place, row in enumerate(rows.tolist()):
            _tile(sheet, (place, top + _HEADING), (scored, row), marks(row), look)
        top += height
    target.parent.mkdir(parents=True, exist_ok=True)
    sheet.image.save(target)
    return target


def _legend(sheet: drawing.Sheet) -> None:
    words = (("true box", TRUE), ("model: region, and + at its peak", MODEL))
    x = _GAP
    for text, colour in words:
        sheet.draw.rectangle((x, 14, x + 16, 26), outline=colour, width=2)
        drawing.write(sheet, (x + 24, 11), text, 15, drawing.MUTED)
        x += 48 + drawing.width_of(text, 15)


def _tile(sheet: drawing.Sheet, at: tuple[int, int], case: tuple[Scored, int], marks: Marks, look: Look) -> None:
    (scored, row), (place, y) = case, at
    width = (look.width - _GAP) // look.count - _GAP
    x = _GAP + place * (width + _GAP)
    path = scored.paths[row]
    grey = _read(path)
    if grey is None:
        drawing.write(sheet, (x, y), "cannot be read", 15, drawing.MUTED)
    else:
        scale = min(width / grey.shape[1], _PICTURE / grey.shape[0])
        size = (max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale)))
        method = cv2.INTER_AREA if scale < 1.0 else cv2.INTER_LINEAR
        small = np.asarray(cv2.resize(grey, size, interpolation=method), dtype=np.uint8)
        sheet.paste(np.repeat(small[..., None], 3, axis=2), x, y)
        _mark(sheet, (x, y, scale), marks, look.alpha)
    drawing.write(sheet, (x, y + _PICTURE + 2), f"p = {scored.p[row]:.3f}", 15)
    drawing.write(sheet, (x, y + _PICTURE + 2 + _LINE), drawing.shortened(path.name, 13, width), 13, drawing.MUTED)


def _read(path: Path) -> NDArray[np.uint8] | None:
    try:
        return layouts.decode(path.read_bytes())
    except (OSError, ValueError, SyntaxError):
        return None


def _mark(sheet: drawing.Sheet, place: tuple[int, int, float], marks: Marks, alpha: float) -> None:
    left, top, scale = place

    def put(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        return [(left + x * scale, top + y * scale) for x, y in points]

    if marks.shown is not None:
        for region in regions(marks.shown, alpha):
            _line(sheet, put(region.points), MODEL)
        rows, columns = marks.shown.values.shape
        ((x, y),) = put([cell_centre(peak_cell(marks.shown), (rows, columns), marks.shown.geometry)])
        for ends in ([(x - 6, y), (x + 6, y)], [(x, y - 6), (x, y + 6)]):
            _line(sheet, ends, MODEL)
    for x, y, width, height in marks.boxes:
        (first, last) = put([(x, y), (x + width, y + height)])
        # Just outside the box: what lies in it, and a region that fills it, stay visible.
        low, high = (first[0] - _EDGE, first[1] - _EDGE), (last[0] + _EDGE, last[1] + _EDGE)
        _line(sheet, [low, (high[0], low[1]), high, (low[0], high[1]), low], TRUE)


def _line(sheet: drawing.Sheet, points: list[tuple[float, float]], colour: drawing.Colour) -> None:
    # On a dark edge, so that it shows on bone and air alike.
    sheet.draw.line(points, fill=_DARK, width=4, joint="curve")
    sheet.draw.line(points, fill=colour, width=2, joint="curve")
