"""Every image is accounted for, and no split lets one group be on both sides."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

pytest.importorskip("torch", reason="the lab needs torch: pip install 'dicom-node[lab]'")
pytest.importorskip("sklearn", reason="the lab needs scikit-learn: pip install 'dicom-node[lab]'")

from dicom_node.lab import dataset

if TYPE_CHECKING:
    from pathlib import Path


def test_every_image_is_scored_excluded_or_failed(tiny_data: Path) -> None:
    images = dataset.load(tiny_data)
    readable = np.array([image.name != "T0001.jpg" for image in images])
    scored, counts = dataset.account(images, readable)
    assert counts.listed == 72
    assert counts.excluded == {"guard": 1, "label_conflict": 1, "near_dup": 1, "truncated_jpeg": 1}
    assert counts.failed == 1
    assert counts.scored == int(scored.sum()) == 67


def test_a_lost_image_is_noticed() -> None:
    with pytest.raises(dataset.ConservationError, match="10 images are listed but 9"):
        dataset.Conservation(listed=10, scored=7, excluded={"guard": 1}, failed=1).check()


def test_spoilt_images_are_not_learnt_from_and_near_duplicates_are(tiny_data: Path) -> None:
    trainable = {image.name for image in dataset.load(tiny_data) if image.trainable}
    assert "T0007.jpg" in trainable
    assert not trainable & {"T0000.jpg", "T0003.jpg", "T0005.jpg"}


def test_folds_are_disjoint_by_group_and_cover_everything(tiny_data: Path) -> None:
    images = dataset.load(tiny_data)
    folds = dataset.grouped_folds(images, 3, seed=4)
    assert set(folds.tolist()) == {0, 1, 2}
    by_group: dict[str, set[int]] = {}
    for image, fold in zip(images, folds.tolist(), strict=True):
        by_group.setdefault(image.group, set()).add(fold)
    assert all(len(found) == 1 for found in by_group.values())


def test_a_leaking_split_is_refused() -> None:
    dataset.assert_disjoint(["1", "2"], ["3"])
    with pytest.raises(dataset.LeakError, match="both sides"):
        dataset.assert_disjoint(["1", "2"], ["2", "3"])
