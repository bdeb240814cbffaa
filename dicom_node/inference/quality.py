"""What must hold before and after the model; otherwise there is no answer, neither negative nor inconclusive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from dicom_node.core.errors import NotAnalysable
from dicom_node.core.findings import Reason, ReasonCode

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDE_MIN: Final = 64
"""Pixels; the smallest detail that any of our models looks for would be below one of these."""

CONTRAST_MIN: Final = 0.01
"""The least share of the grey scale that the middle 99 % of an image must span."""

MISMATCH_MAX: Final = 1e-3
"""How far the map's sum may lie from the logit: beyond it, map and score do not come from the same features."""

_WHITE: Final = 65535.0
_SAMPLES: Final = 512


def check_image(grey: NDArray[np.uint16]) -> None:
    """Raise NotAnalysable where an image (uint16 [rows, columns]) is too small or shows nothing."""
    rows, columns = grey.shape
    if min(rows, columns) < SIDE_MIN:
        text = f"{rows} x {columns} pixels are too few, the shorter side needs {SIDE_MIN}"
        raise NotAnalysable(Reason(ReasonCode.IMPLAUSIBLE_SIZE, text))
    # Every n-th pixel tells the contrast as well as all of them.
    sample = grey[:: max(1, rows // _SAMPLES), :: max(1, columns // _SAMPLES)]
    low, high = np.percentile(sample, (0.5, 99.5))
    if float(high - low) < CONTRAST_MIN * _WHITE:
        raise NotAnalysable(Reason(ReasonCode.FLAT_IMAGE, "the image is flat: it shows next to no contrast"))


def check_finite(*arrays: NDArray[np.float32]) -> None:
    """Raise NotAnalysable where any value is not a number or infinite."""
    if not all(np.isfinite(array).all() for array in arrays):
        raise NotAnalysable(Reason(ReasonCode.NON_FINITE, "the model gave values that are not numbers"))


def check_varied(features: NDArray[np.float32]) -> None:
    """Raise NotAnalysable where a feature map is one value everywhere: no image gives that, a broken model does."""
    if float(features.min()) == float(features.max()):
        raise NotAnalysable(Reason(ReasonCode.CONSTANT, "the model gave the same value everywhere"))


def check_sum(evidence: NDArray[np.float32], bias: float, logit: float) -> None:
    """Raise NotAnalysable where the evidence map and the bias do not add up to the logit."""
    difference = abs(float(evidence.sum(dtype=np.float64)) + bias - logit)
    if not difference <= MISMATCH_MAX:
        raise NotAnalysable(Reason(ReasonCode.MAP_MISMATCH, "the evidence map does not add up to the model's score"))
