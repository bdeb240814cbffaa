"""The preprocessing that a bundle names by id: the one code path of training and of serving."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from dicom_node.core.errors import BundleError
from dicom_node.core.radiograph import InputGeometry
from dicom_node.inference import cxr_preprocess, stretch

if TYPE_CHECKING:
    from numpy.typing import NDArray

LCN_LETTERBOX_512: Final = "lcn-letterbox-512-v1"

_SIDE: Final = 512
# Two passes of a box this wide are close to a Gaussian of sigma 19 px: wider than a fracture line or a cortex, narrower
# than a bone, so what varies slowly (soft tissue, scatter, the window a site chose) is taken out.
_WINDOW: Final = 47
# A floor on the local deviation, as a share of the whole image's, so that film noise in the black is not blown up.
_FLOOR: Final = 0.15
_CLIP: Final = 5.0
_BODY_SIDE: Final = 128
# Skin and soft tissue lie well below Otsu's threshold, which tends to split bone from the rest. The scale ends at the
# 95th percentile, or a white border would drive the threshold up. Both were set on boxes of fractures: 99.7 % of their
# area is kept.
_BODY_LEVEL: Final = 0.4
_BODY_SCALE: Final = (0.5, 95.0)
_BODY_MINIMUM: Final = 0.05


@dataclass(frozen=True, slots=True)
class Prepared:
    """A model's input: tensor float32 [1, 1, rows, columns], its geometry, and which input pixels show the body."""

    tensor: NDArray[np.float32]
    geometry: InputGeometry
    body: NDArray[np.bool_]

    def body_cells(self, rows: int, columns: int) -> NDArray[np.bool_]:
        """Return which cells of a map of this shape lie on the body: at least half of the cell's pixels do."""
        height, width = self.body.shape
        if height % rows or width % columns:
            message = f"a {rows} x {columns} map does not divide the {height} x {width} input into whole cells"
            raise BundleError(message)
        blocks = self.body.reshape(rows, height // rows, columns, width // columns)
        return np.asarray(blocks.mean(axis=(1, 3)) >= 0.5, dtype=np.bool_)  # noqa: PLR2004 - half of the pixels


def prepare(preprocessing_id: str, grey: NDArray[np.uint16]) -> Prepared:
    """Return the input that the named preprocessing makes of an image (uint16, after VOI and polarity)."""
    if (side := stretch.side_of(preprocessing_id)) is not None:
        return _stretched(grey, side)
    if preprocessing_id in cxr_preprocess.IDS:
        return _cxr(preprocessing_id, grey)
    if preprocessing_id != LCN_LETTERBOX_512:
        known = ", ".join((LCN_LETTERBOX_512, "stretch-luma-SIDE-v1", *cxr_preprocess.IDS))
        message = f"unknown preprocessing {preprocessing_id!r}: this version knows {known}"
        raise BundleError(message)
    geometry = _letterbox(int(grey.shape[0]), int(grey.shape[1]))
    top, left, bottom, right = (round(edge) for edge in geometry.content)
    content = _resize(grey, bottom - top, right - left)
    tensor = np.zeros((1, 1, _SIDE, _SIDE), dtype=np.float32)
    tensor[0, 0, top:bottom, left:right] = _normalise(content)
    body = np.zeros((_SIDE, _SIDE), dtype=np.bool_)
    body[top:bottom, left:right] = _body(content)
    return Prepared(tensor, geometry, body)


def _cxr(preprocessing_id: str, grey: NDArray[np.uint16]) -> Prepared:
    plane = cxr_preprocess.embedder_plane(cxr_preprocess.client_plane(preprocessing_id, grey))
    geometry = cxr_preprocess.geometry(preprocessing_id, int(grey.shape[0]), int(grey.shape[1]))
    return Prepared(plane[None, None], geometry, _body(plane))


def _letterbox(rows: int, columns: int) -> InputGeometry:
    scale = _SIDE / max(rows, columns)
    height, width = max(1, round(rows * scale)), max(1, round(columns * scale))
    # The scale is taken from the rounded size, so that the way back is exact.
    return InputGeometry(
        image_rows=rows,
        image_columns=columns,
        input_rows=_SIDE,
        input_columns=_SIDE,
        scale_y=height / rows,
        scale_x=width / columns,
        pad_top=float((_SIDE - height) // 2),
        pad_left=float((_SIDE - width) // 2),
    )


def _resize(grey: NDArray[np.uint16], height: int, width: int) -> NDArray[np.float32]:
    shrinks = max(grey.shape) > _SIDE
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    resized = cv2.resize(grey, (width, height), interpolation=method)
    unit: NDArray[np.float32] = np.asarray(resized, dtype=np.float32) / np.float32(65535.0)
    return unit


def _smooth(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    # The border is mirrored: only the image's own pixels enter, never the padding.
    size = (_WINDOW, _WINDOW)
    once = cv2.blur(plane, size, borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(cv2.blur(once, size, borderType=cv2.BORDER_REFLECT_101), dtype=np.float32)


def _normalise(content: NDArray[np.float32]) -> NDArray[np.float32]:
    spread = float(content.std())
    if spread < 1e-6:  # noqa: PLR2004 - flat to within a 16-bit grey step: nothing to normalise
        return np.zeros_like(content)
    # Divided by the whole image's deviation first, which makes every later step blind to gain and offset.
    scaled = (content - np.float32(content.mean())) / np.float32(spread)
    detail = scaled - _smooth(scaled)
    local = np.sqrt(_smooth(detail * detail) + np.float32(_FLOOR * _FLOOR))
    return np.asarray(np.clip(detail / local, -_CLIP, _CLIP), dtype=np.float32)


def _body(content: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return the pixels that are not the black around the body, or all of them where no such black is found."""
    height, width = content.shape
    ratio = min(1.0, _BODY_SIDE / max(height, width))
    size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    small = cv2.resize(content, size, interpolation=cv2.INTER_AREA)
    low, high = (float(value) for value in np.percentile(small, _BODY_SCALE))
    if high - low < 1e-6:  # noqa: PLR2004 - flat: there is no background to tell from a body
        return np.ones((height, width), dtype=np.bool_)
    eight = np.asarray(np.clip((small - low) * (255.0 / (high - low)), 0, 255), dtype=np.uint8)
    otsu, _ = cv2.threshold(eight, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    mask = np.asarray(eight > otsu * _BODY_LEVEL, dtype=np.uint8)
    kernel = np.ones((5, 5), dtype=np.uint8)
    closed = cv2.dilate(cv2.morphologyEx(mask, cv2.MORPH_CLOSE, kernel), np.ones((3, 3), dtype=np.uint8))
    if float(closed.mean()) < _BODY_MINIMUM:
        return np.ones((height, width), dtype=np.bool_)
    full = cv2.resize(np.asarray(closed, dtype=np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    return np.asarray(full > 0, dtype=np.bool_)


def _stretched(grey: NDArray[np.uint16], side: int) -> Prepared:
    content = stretch.unit(stretch.luma(grey, side))
    geometry = stretch.geometry(int(grey.shape[0]), int(grey.shape[1]), side)
    return Prepared(content[None, None], geometry, _body(content))
