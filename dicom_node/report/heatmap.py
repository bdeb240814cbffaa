"""Evidence laid over the radiograph, pixel-exact, and the outline of a region."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicom_node.core.findings import Region
    from dicom_node.core.radiograph import EvidenceMap

#: Below this share of the maximum nothing is painted: the anatomy stays as it is.
FAINTEST = 0.10
#: At the maximum more than half of the grey still shows through, so that a fracture line under the heat stays visible.
_OPACITY = 0.4
#: Inferno's first third is nearly black and would darken bone, its end turns olive over dark tissue; what lies between
#: still rises evenly in lightness.
_FIRST_COLOUR, _LAST_COLOUR = 96, 228
_SUBPIXEL_BITS = 4
#: Grey from which on an area glares, the share of a picture that may, and what is left of the light of one with more.
_WHITE, _MUCH_WHITE, _DIMMED = 230, 0.12, 0.75


def share_of_maximum(shown: EvidenceMap, rows: int, columns: int) -> NDArray[np.float32]:
    """Return, for each pixel of the image drawn at rows x columns, its evidence as a share of the image's maximum.

    Bilinear between cell centres, exact at every pixel (cv2.warpAffine rounds positions to 1/32 cell, which shows as
    steps at this magnification). Negative evidence counts as none, and so does what lies on the padding.
    """
    geometry = shown.geometry
    grid_rows, grid_columns = shown.values.shape
    top, left, bottom, right = geometry.content
    cell_y, cell_x = geometry.input_rows / grid_rows, geometry.input_columns / grid_columns
    values = np.maximum(np.nan_to_num(shown.values), 0.0).astype(np.float32)
    values[_outside(grid_rows, cell_y, top, bottom), :] = 0.0
    values[:, _outside(grid_columns, cell_x, left, right)] = 0.0
    y = (np.arange(rows) + 0.5) * geometry.image_rows / rows * geometry.scale_y + geometry.pad_top
    x = (np.arange(columns) + 0.5) * geometry.image_columns / columns * geometry.scale_x + geometry.pad_left
    laid = _weights(y / cell_y, grid_rows) @ values @ _weights(x / cell_x, grid_columns).T
    highest = float(values.max())
    return cast("NDArray[np.float32]", laid / highest if highest > 0.0 else laid)


def blend(grey: NDArray[np.uint8], share: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return grey with the heat over it, as RGB of the same size; only where there is any heat are colours reckoned."""
    picture = cast("NDArray[np.uint8]", cv2.merge([grey, grey, grey]))
    hot = share > FAINTEST
    rows, columns = np.flatnonzero(hot.any(axis=1)), np.flatnonzero(hot.any(axis=0))
    if rows.size == 0:
        return picture
    part = picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    heat = share[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    level = np.clip(heat * 255.0 + 0.5, 0, 255).astype(np.uint8)
    painted, kept = _tables()
    level3 = cv2.merge([level, level, level])
    dimmed = cv2.multiply(part, cv2.LUT(level3, kept), scale=1 / 255.0)
    part[:] = cv2.add(dimmed, cv2.LUT(level3, painted))
    return picture


def glares(grey: NDArray[np.uint8]) -> bool:
    """Tell whether much of a picture is white, as direct exposure and white borders are: it would dazzle its reader."""
    return bool(np.count_nonzero(grey >= _WHITE) > _MUCH_WHITE * grey.size)


def without_glare(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the picture, evenly dimmed where it would glare on a dark page."""
    return cast("NDArray[np.uint8]", cv2.convertScaleAbs(grey, alpha=_DIMMED)) if glares(grey) else grey


def outline(rgb: NDArray[np.uint8], regions: tuple[Region, ...], scale: tuple[float, float], width: int) -> None:
    """Draw each region's closed line in place, white on a dark edge so that it shows on bone, air and heat alike.

    scale: (vertical, horizontal) drawn pixels per original pixel.
    """
    factor = 1 << _SUBPIXEL_BITS
    for region in regions:
        edges = np.array(region.points, dtype=np.float64) * (scale[1], scale[0])
        # OpenCV counts from pixel centres, a region from pixel edges.
        points = np.round((edges - 0.5) * factor).astype(np.int32)
        for colour, thickness in (((0, 0, 0), width + 2), ((255, 255, 255), width)):
            cv2.polylines(rgb, [points], True, colour, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)  # noqa: FBT003 - OpenCV's order


def colour_bar(rows: int, columns: int) -> NDArray[np.uint8]:
    """Return the scale from none to the maximum, left to right, over the mid grey of soft tissue."""
    share = np.tile(np.linspace(0.0, 1.0, columns, dtype=np.float32), (rows, 1))
    return blend(np.full((rows, columns), 110, dtype=np.uint8), share)


def _outside(cells: int, size: float, low: float, high: float) -> NDArray[np.bool_]:
    """Tell which cells of one axis touch nothing of the image."""
    start = np.arange(cells) * size
    return (start + size <= low) | (start >= high)


def _weights(position: NDArray[np.float64], cells: int) -> NDArray[np.float32]:
    """Return one axis of bilinear interpolation as a matrix [pixels, cells]; position in cells, 0.5 is a centre."""
    index = np.clip(position - 0.5, 0.0, cells - 1.0)
    low = np.minimum(index.astype(np.int64), max(cells - 2, 0))
    part = (index - low).astype(np.float32)
    matrix = np.zeros((len(position), cells), dtype=np.float32)
    pixel = np.arange(len(position))
    matrix[pixel, low] = 1.0 - part
    matrix[pixel, np.minimum(low + 1, cells - 1)] += part
    return matrix


def _tables() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return what is painted and what share of grey is kept, per level of evidence, as RGB look-up tables.

    Inferno: lightness rises with the value, so it reads the same on a grey display and for colour-blind eyes, and it
    has no green that could be taken for "all clear".
    """
    ramp = np.linspace(_FIRST_COLOUR, _LAST_COLOUR, 256).astype(np.uint8).reshape(256, 1)
    colours = cv2.applyColorMap(ramp, cv2.COLORMAP_INFERNO)[:, :, ::-1].astype(np.float32)
    rise = np.clip((np.linspace(0.0, 1.0, 256) - FAINTEST) / (0.6 - FAINTEST), 0.0, 1.0)
    opacity = (_OPACITY * rise).astype(np.float32).reshape(256, 1, 1)
    painted = np.round(colours * opacity).astype(np.uint8)
    kept = np.round(255.0 * (1.0 - np.repeat(opacity, 3, axis=2))).astype(np.uint8)
    return painted, kept
