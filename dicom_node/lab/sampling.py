"""Training views: crops and whole images under one random affine transform, with their cell targets."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dicom_node.lab.cache import CODE_SCALE
from dicom_node.lab.network import STRIDE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dicom_node.lab.cache import Cache
    from dicom_node.lab.dataset import Image

_COVERED: Final = 0.25
_AT_BOX: Final = 0.5
_BESIDE_BOX: Final = 0.15


@dataclass(frozen=True, slots=True)
class Batch:
    """Inputs [B, 1, S, S]; cells [B, s, s] is 1 on a fracture, 0 off it and -1 where it is not asked; label [B]."""

    inputs: Tensor
    cells: Tensor
    label: Tensor


class Sampler:
    """Draws training views from a set of images; every draw comes from one seeded generator."""

    def __init__(self, images: Sequence[Image], cache: Cache, chosen: NDArray[np.int64], seed: int) -> None:
        self._images = images
        self._cache = cache
        self._random = np.random.default_rng(seed)
        fractured = np.array([bool(images[i].fractured) for i in chosen], dtype=np.bool_)
        boxed = np.array([bool(images[i].boxes) for i in chosen], dtype=np.bool_)
        self._positive = chosen[fractured & boxed]
        self._negative = chosen[~fractured]

    def crops(self, count: int, side: int) -> Batch:
        """Return crops: half at fractures, some beside them, the rest anywhere on the body of normal images."""
        indices, centres = [], []
        for draw in self._random.random(count):
            positive = draw < _AT_BOX + _BESIDE_BOX
            index = int(self._random.choice(self._positive if positive else self._negative))
            indices.append(index)
            centres.append(self._at_box(index, side) if draw < _AT_BOX else self._on_body(index))
        return self._view(np.array(indices), np.array(centres), side, turn=0.5, zoom=0.25)

    def whole(self, count: int, share: float) -> Batch:
        """Return whole images, this share of them fractured."""
        positives = self._random.random(count) < share
        indices = np.array([int(self._random.choice(self._positive if p else self._negative)) for p in positives])
        shift = self._random.uniform(-24.0, 24.0, (count, 2))
        return self._view(indices, 256.0 + shift, 512, turn=0.3, zoom=0.15)

    def _at_box(self, index: int, side: int) -> tuple[float, float]:
        boxes = self._cache.input_boxes(index, self._images[index].boxes)
        top, left, bottom, right = boxes[int(self._random.integers(len(boxes)))]
        jitter = self._random.uniform(-0.35, 0.35, 2) * side
        return (top + bottom) / 2 + jitter[0], (left + right) / 2 + jitter[1]

    def _on_body(self, index: int) -> tuple[float, float]:
        cells = np.argwhere(self._cache.body[index])
        if not len(cells):
            return 256.0, 256.0
        row, column = cells[int(self._random.integers(len(cells)))]
        jitter = self._random.uniform(0, STRIDE, 2)
        return row * STRIDE + jitter[0], column * STRIDE + jitter[1]

    def _view(
        self, indices: NDArray[np.int64], centres: NDArray[np.float64], side: int, *, turn: float, zoom: float
    ) -> Batch:
        inputs = np.empty((len(indices), 1, side, side), dtype=np.float32)
        masks = np.empty((len(indices), side, side), dtype=np.float32)
        for row, (index, centre) in enumerate(zip(indices, centres, strict=True)):
            matrix = self._matrix(centre, side, turn, zoom)
            inputs[row, 0] = self._jitter(self._warp(int(index), matrix, side))
            masks[row] = self._mask(int(index), matrix, side)
        cells = cell_targets(torch.from_numpy(masks))
        label = (cells == 1).flatten(1).any(1).float()
        return Batch(torch.from_numpy(inputs), cells, label)

    def _matrix(self, centre: NDArray[np.float64], side: int, turn: float, zoom: float) -> NDArray[np.float64]:
        """Return the 2 x 3 matrix from input (x, y) to the view: a turn, a zoom and perhaps a mirror."""
        angle = float(self._random.uniform(-turn, turn))
        size = math.exp(float(self._random.uniform(-zoom, zoom)))
        flip = -1.0 if self._random.random() < 0.5 else 1.0  # noqa: PLR2004 - a fair coin
        turned = size * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        turned[0] *= flip
        offset = side / 2.0 - turned @ centre[::-1]
        return np.hstack([turned, offset[:, None]])

    def _warp(self, index: int, matrix: NDArray[np.float64], side: int) -> NDArray[np.float32]:
        plane = self._cache.inputs[index]
        view = cv2.warpAffine(plane, matrix, (side, side), flags=cv2.INTER_LINEAR, borderValue=0)
        scaled: NDArray[np.float32] = np.asarray(view, dtype=np.float32) / np.float32(CODE_SCALE)
        return scaled

    def _mask(self, index: int, matrix: NDArray[np.float64], side: int) -> NDArray[np.float32]:
        mask = np.zeros((side, side), dtype=np.float32)
        for top, left, bottom, right in self._cache.input_boxes(index, self._images[index].boxes):
            corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
            moved = corners @ matrix[:, :2].T + matrix[:, 2]
            cv2.fillConvexPoly(mask, np.rint(moved).astype(np.int32), 1.0)
        return mask

    def _jitter(self, view: NDArray[np.float32]) -> NDArray[np.float32]:
        # The padding stays exactly zero, as it is when the model is used.
        content = view != 0
        if self._random.random() < 0.2:  # noqa: PLR2004 - a fifth are a little out of focus
            view = np.asarray(cv2.blur(view, (3, 3)), dtype=np.float32)
        view = view * np.float32(self._random.uniform(0.75, 1.3))
        if self._random.random() < 0.5:  # noqa: PLR2004 - half are noisy
            level = np.float32(self._random.uniform(0.0, 0.2))
            view += level * self._random.standard_normal(view.shape, dtype=np.float32)
        jittered: NDArray[np.float32] = np.asarray(view * content, dtype=np.float32)
        return jittered


def cell_targets(mask: Tensor) -> Tensor:
    """Return cell targets of box masks [B, S, S]: 1 where covered, 0 where clear, -1 in between (not asked)."""
    covered = functional.avg_pool2d(mask[:, None], STRIDE)[:, 0]
    # A box smaller than a quarter of a cell still has its best cell.
    needed = covered.flatten(1).amax(1).clamp(max=_COVERED)[:, None, None]
    one = (covered >= needed) & (covered > 0.01)  # noqa: PLR2004 - less is interpolation at the crop's edge
    return torch.where(one, 1.0, torch.where(covered > 0, -1.0, 0.0))
