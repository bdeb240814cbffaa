"""The preprocessing of the published systems: 8-bit luma, both sides stretched to one side length, in [0, 1]."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

from dicom_node.core.errors import BundleError
from dicom_node.core.radiograph import InputGeometry

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Whole cells for networks of stride 32, and an input that fits every device we run on.
SIDE_STEP: Final = 32
SIDE_MAX: Final = 1024

_ID: Final = re.compile(r"stretch-luma-([1-9][0-9]{0,5})-v1")


def id_of(side: int) -> str:
    """Return the id of the stretch to side x side pixels, such as "stretch-luma-224-v1"."""
    return f"stretch-luma-{side}-v1"


def is_side(side: int) -> bool:
    """Tell whether there is a stretch to this side: a multiple of SIDE_STEP up to SIDE_MAX."""
    return 0 < side <= SIDE_MAX and side % SIDE_STEP == 0


def side_of(preprocessing_id: str) -> int | None:
    """Return the side in pixels that an id names, or None where it is another preprocessing's id.

    Raises BundleError where the side is not a multiple of SIDE_STEP up to SIDE_MAX.
    """
    match = _ID.fullmatch(preprocessing_id)
    if match is None:
        return None
    side = int(match[1])
    if not is_side(side):
        message = (
            f"{preprocessing_id}: the side must be a multiple of {SIDE_STEP} up to {SIDE_MAX}; export again with one"
        )
        raise BundleError(message)
    return side


def luma(grey: NDArray[np.uint16], side: int) -> NDArray[np.uint8]:
    """Return the luma uint8 [side, side] of an image (uint16 [rows, columns]), by Pillow's bilinear filter.

    The published systems read 8-bit files; 65535 is 255 * 257, so an 8-bit image comes through unchanged.
    """
    eight = np.asarray((grey.astype(np.uint32) + 128) // 257, dtype=np.uint8)
    # In two steps, so that rows come first with every Pillow: version 13 turns the order round for some shapes.
    along = Image.fromarray(eight).resize((side, eight.shape[0]), Image.Resampling.BILINEAR)
    return np.asarray(along.resize((side, side), Image.Resampling.BILINEAR), dtype=np.uint8)


def unit(codes: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return luma in [0, 1], float32 of the same shape: the only scaling there is."""
    return np.asarray(codes / np.float32(255.0), dtype=np.float32)


def geometry(rows: int, columns: int, side: int) -> InputGeometry:
    """Return how the stretched plane lies on an image of rows x columns."""
    return InputGeometry(rows, columns, side, side, side / rows, side / columns, 0.0, 0.0)
