"""How far one gets without looking at the anatomy: file size, format, view flags and global grey levels alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dicom_node.lab.cache import Cache
    from dicom_node.lab.dataset import Image


def facts(images: Sequence[Image], cache: Cache) -> NDArray[np.float64]:
    """Return the non-anatomical facts of each image, a row each."""
    rows = []
    for image, intensity in zip(images, cache.intensity, strict=True):
        area = image.width * image.height
        sizes = [np.log1p(image.file_bytes), np.log(area), image.width / image.height, image.file_bytes / area]
        flags = [*image.views, image.multiscan, max(image.width, image.height) >= 1024]  # noqa: PLR2004 - was resampled
        rows.append([*sizes, image.width, image.height, *flags, *(intensity / 65535.0)])
    return np.array(rows, dtype=np.float64)


def held_out_scores(
    table: NDArray[np.float64], labels: NDArray[np.bool_], folds: NDArray[np.int64], used: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return out-of-fold scores of a logistic regression on the facts, over the same grouped folds as the model."""
    scores = np.full(len(labels), np.nan)
    for fold in np.unique(folds):
        train, test = used & (folds != fold), used & (folds == fold)
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, class_weight="balanced"))
        scores[test] = model.fit(table[train], labels[train]).decision_function(table[test])
    return scores
