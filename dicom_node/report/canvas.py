"""The square that every page of a series is laid on, and the edges where viewers write words of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import cv2
import numpy as np

from dicom_node.report.drawing import BACKGROUND

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

#: Shares of a page's height that hold no word: there lie a viewer's date, series name, cine bar, window and number.
CLEAR_TOP, CLEAR_BOTTOM = 0.10, 0.08


def squared(pages: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
    """Return the pages as squares of one size, each as large as fits and in the middle.

    Viewers keep the first page's zoom. The largest page keeps its pixels, a smaller one is enlarged.
    """
    side = max(max(page.shape[:2]) for page in pages)
    return [_laid(page, side) for page in pages]


def _laid(page: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    rows, columns = page.shape[:2]
    if max(rows, columns) < side:
        scale = side / max(rows, columns)
        size = (min(side, round(columns * scale)), min(side, round(rows * scale)))
        page = cast("NDArray[np.uint8]", cv2.resize(page, size, interpolation=cv2.INTER_CUBIC))
        rows, columns = page.shape[:2]
    if rows == columns:
        return page
    square = np.full((side, side, 3), BACKGROUND, dtype=np.uint8)
    top, left = (side - rows) // 2, (side - columns) // 2
    square[top : top + rows, left : left + columns] = page
    return square
