"""One drawn radiograph whose score a bundle states, to see whether the model still answers as when it was made.

It goes the way of every image, preprocessing and head included, so it finds a library whose filters have changed as
well as a network that computes something else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from dicom_node.core.errors import BundleError
from dicom_node.inference import head
from dicom_node.inference.preprocess import prepare

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicom_node.inference.bundle import Bundle
    from dicom_node.inference.embedder import Embedder

TOLERANCE: Final = 0.05
"""How far a logit may lie from the known one: what a plan may differ by in its acceptance test."""

# Tall and narrow: filters that take columns before rows for some shapes show on this one.
_ROWS, _COLUMNS = 1500, 700
_BONE: Final = 110


def picture() -> NDArray[np.uint16]:
    """Return the radiograph, uint16 [1500, 700]: a bone with a dark line across it, by whole numbers alone."""
    rows, columns = np.indices((_ROWS, _COLUMNS), dtype=np.int64)
    across = np.abs(columns - _COLUMNS // 2)
    flesh = np.clip(26000 - 80 * across, 0, None)
    bone = np.where(across < _BONE, 9000 + 130 * across, 0)
    line = np.where((np.abs(rows + columns // 3 - 850) < 6) & (across < _BONE), 12000, 0)  # noqa: PLR2004 - 12 pixels
    grain = (rows * 7919 + columns * 104729) % 1021
    return np.asarray(flesh + bone - line + grain, dtype=np.uint16)


def answer(bundle: Bundle, embedder: Embedder) -> float:
    """Return the logit of the radiograph. Raises WorkerCrashed where the runtime fails."""
    tensor = prepare(bundle.manifest.preprocessing.id, picture()).tensor
    return head.logit(embedder.embed(tensor), bundle.head, bundle.manifest.embedder.pool)


def check(bundle: Bundle, found: float) -> None:
    """Raise BundleError where a logit is not the one that the bundle states, if it states one."""
    known = bundle.manifest.known_answer
    if known is not None and not abs(found - known.logit) <= known.tolerance:  # so that NaN fails too
        message = (
            f"the model answers {found:.3f} to its known image where {known.logit:.3f} is right: nothing is scored; "
            "install the locked versions of the libraries, or the bundle, again"
        )
        raise BundleError(message)
