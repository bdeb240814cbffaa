"""The grey picture that pages are drawn from: small enough to store twice, large enough to read."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import cv2

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dicom_node.core.radiograph import Radiograph

LONGEST_SIDE = 1280
#: 65535 / 255 = 257 exactly, rounded: a shift by 8 bits would lift the upper half by up to one grey.
_EIGHT_BITS = 1.0 / 257.0


def to_display(radiograph: Radiograph) -> NDArray[np.uint8]:
    """Return the radiograph in 8 bits, its long side at most 1280 pixels, never larger than the original.

    1280 is more than a page shows on a clinical display and keeps a heatmap below 2 MB compressed, noise and all; the
    diagnostic image is the original, not this one. Smaller images keep their size: enlarging is for the page that needs
    it, and no pixel is kept that was not measured. INTER_AREA averages, so thin bright lines fade rather than break.
    """
    grey = cast("NDArray[np.uint8]", cv2.convertScaleAbs(radiograph.grey, alpha=_EIGHT_BITS))
    longest = max(radiograph.rows, radiograph.columns)
    if longest <= LONGEST_SIDE:
        return grey
    scale = LONGEST_SIDE / longest
    size = (max(1, round(radiograph.columns * scale)), max(1, round(radiograph.rows * scale)))
    return cast("NDArray[np.uint8]", cv2.resize(grey, size, interpolation=cv2.INTER_AREA))


def in_proportion(grey: NDArray[np.uint8], pixel: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a picture with square pixels and the same long side, given the (height, width) of its own."""
    height, width = pixel
    if height == width:
        return grey
    rows, columns = grey.shape[0] * height, grey.shape[1] * width
    scale = max(grey.shape) / max(rows, columns)
    size = (max(1, round(columns * scale)), max(1, round(rows * scale)))
    return cast("NDArray[np.uint8]", cv2.resize(grey, size, interpolation=cv2.INTER_AREA))
