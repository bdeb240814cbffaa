"""What CXR Foundation does to an image before its network, without TensorFlow: a client's stage, then the model's own.

Two ids, for a head fits only the features of the images that it was trained on:

- edgefracture-v1: 8-bit luma, Lanczos stretch to 1024 x 1024 in 8 bit (Pillow, as the published probe's embeddings were
  made), then the 1280 stage.
- google-dicom-v2: all 16 bits and the image's own size, then the 1280 stage. Google's client applies Modality LUT,
  linear window and MONOCHROME1 inversion and spreads the result over 16 bits; here `part10.greyscale` has done the same
  before. It differs where a file has what that client does not look at (VOI LUT, sigmoid or exact window, Presentation
  LUT Shape INVERSE: applied here, ignored there), where padding is marked (it stretches the range there, not here), and
  in 8-bit files (left at 8 bit there). A change of gain or offset alone is undone by the last step.

The 1280 stage is TensorFlow's legacy bilinear resize (align_corners and half_pixel_centers false: pixel i of the output
is sampled at i x size / 1280, counted from the first pixel's centre; aspect not kept), then min-max to [0, 1].
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Union

import cv2
import numpy as np
from PIL import Image

from dicom_node.core.radiograph import InputGeometry

if TYPE_CHECKING:
    from numpy.typing import NDArray

EDGEFRACTURE_V1: Final = "edgefracture-v1"
GOOGLE_DICOM_V2: Final = "google-dicom-v2"
IDS: Final = (EDGEFRACTURE_V1, GOOGLE_DICOM_V2)
SIDE: Final = 1280

_CLIENT_SIDE: Final = 1024
# Rows worked on at a time: what is between the steps stays in the processor's cache.
_ROWS: Final = 32
# Any mode of four bands does that Pillow resizes band by band; RGBA is none, for it weights colours by opacity.
_FOUR_BANDS: Final = "CMYK"
_BANDS: Final = 4

_Rows = Union[slice, "NDArray[np.intp]"]


def client_plane(preprocessing_id: str, grey: NDArray[np.uint16]) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Return the plane (uint8 or uint16) that a client of this id would send as PNG to the SavedModel."""
    if preprocessing_id == GOOGLE_DICOM_V2:
        return grey
    # 65,535 = 255 x 257: rounding to the nearest step gives back exactly what an 8-bit file held.
    eight = np.asarray(cv2.convertScaleAbs(grey, alpha=1.0 / 257.0), dtype=np.uint8)
    # Along the rows, rounded to 8 bit, then down: the order of Pillow up to 12, by which the probe was made. Pillow 13
    # turns it round for tall and narrow images, and tens of grey levels differ. Its pass downwards is the quicker one.
    along = _lanczos_down(cv2.transpose(eight))
    return _lanczos_down(cv2.transpose(along))


def embedder_plane(plane: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.float32]:
    """Return the 1280 stage of a plane: float32 [1280, 1280] in [0, 1], nought everywhere where the plane is flat."""
    resized = resize_legacy(plane)
    low, high = resized.min(), resized.max()
    if not high > low:
        return np.zeros_like(resized)
    resized -= low
    resized /= high - low
    return resized


def resize_legacy(plane: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.float32]:
    """Return the plane at 1280 x 1280, float32, in TensorFlow's own order of operations (along rows, then down)."""
    above, below, down = _taps(plane.shape[0])
    left, right, across = _taps(plane.shape[1])
    resized = np.empty((SIDE, SIDE), dtype=np.float32)
    for start in range(0, SIDE, _ROWS):
        part = slice(start, start + _ROWS)
        needed, one, other = _rows_of(above[part], below[part])
        rows = _along(plane[needed], left, right, across)
        upper, lower = rows[one], rows[other]
        lower -= upper
        lower *= down[part, None]
        np.add(lower, upper, out=resized[part])
    return resized


def geometry(preprocessing_id: str, rows: int, columns: int) -> InputGeometry:
    """Return how the 1280 x 1280 input lies on the image.

    The legacy resize lays the centres of the first pixels on each other, not their edges, so the whole image is shifted
    by half the difference between a pixel of the input and one of the plane that the client sends.
    """
    whole = preprocessing_id == GOOGLE_DICOM_V2
    sent_rows, sent_columns = (rows, columns) if whole else (_CLIENT_SIDE, _CLIENT_SIDE)
    return InputGeometry(
        image_rows=rows,
        image_columns=columns,
        input_rows=SIDE,
        input_columns=SIDE,
        scale_y=SIDE / rows,
        scale_x=SIDE / columns,
        pad_top=(1.0 - SIDE / sent_rows) / 2.0,
        pad_left=(1.0 - SIDE / sent_columns) / 2.0,
    )


def _lanczos_down(plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the plane with 1024 rows by Pillow's Lanczos filter, its columns as they are.

    Neighbours in a row get the same weights, so four of them go as one pixel of four bands, which Pillow filters at
    once; of one band it takes about twice as long, to the same values.
    """
    rows, columns = plane.shape
    whole = cv2.copyMakeBorder(plane, 0, 0, 0, -columns % _BANDS, cv2.BORDER_REPLICATE)
    size = (whole.shape[1] // _BANDS, rows)
    packed = Image.frombuffer(_FOUR_BANDS, size, whole.data, "raw", _FOUR_BANDS, 0, 1)
    stretched = packed.resize((size[0], _CLIENT_SIDE), Image.Resampling.LANCZOS)
    return np.asarray(stretched, dtype=np.uint8).reshape(_CLIENT_SIDE, -1)[:, :columns]


def _taps(size: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Return between which two pixels each of the 1280 lies, and how far, reckoned in float32 as TensorFlow does."""
    position = np.arange(SIDE, dtype=np.float32) * (np.float32(size) / np.float32(SIDE))
    first = np.floor(position)
    lower = first.astype(np.intp)
    return lower, np.minimum(lower + 1, size - 1), position - first


def _rows_of(above: NDArray[np.intp], below: NDArray[np.intp]) -> tuple[_Rows, _Rows, _Rows]:
    """Return which rows of the plane lie above and below some output rows, and where among those either kind lies."""
    first, count = int(above[0]), int(below[-1]) + 1 - int(above[0])
    if count < 2 * above.size:  # a plane that is enlarged: neighbours share rows, and none is worked on twice
        return slice(first, first + count), above - first, below - first
    return np.concatenate((above, below)), slice(above.size), slice(above.size, None)


def _along(
    rows: NDArray[np.uint8] | NDArray[np.uint16],
    left: NDArray[np.intp],
    right: NDArray[np.intp],
    across: NDArray[np.float32],
) -> NDArray[np.float32]:
    near = rows.take(left, axis=1).astype(np.float32)
    far = rows.take(right, axis=1).astype(np.float32)
    far -= near
    far *= across
    far += near
    return far
