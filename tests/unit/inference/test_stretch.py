"""The stretch of the published systems: its ids, its luma, its way back to the image, and its body."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from dicom_node.core.errors import BundleError
from dicom_node.inference import stretch
from dicom_node.inference.preprocess import LCN_LETTERBOX_512, prepare


def _limb(rows: int, columns: int) -> np.ndarray:
    image = np.full((rows, columns), 1500.0)
    image[:, columns // 4 : columns // 2] = 42000
    image += np.random.default_rng(3).normal(0, 300, image.shape)
    return np.clip(image, 0, 65535).astype(np.uint16)


def test_an_id_carries_its_side_and_other_ids_are_none_of_its_own() -> None:
    assert stretch.side_of(stretch.id_of(224)) == 224
    assert stretch.side_of(LCN_LETTERBOX_512) is None
    assert stretch.side_of("stretch-luma-0224-v1") is None
    assert stretch.side_of("stretch-luma-224-v2") is None


@pytest.mark.parametrize("side", [1, 100, 1056, 999968])
def test_a_side_out_of_bounds_is_refused_before_anything_is_made(side: int) -> None:
    with pytest.raises(BundleError, match="must be a multiple of 32 up to 1024"):
        prepare(stretch.id_of(side), _limb(100, 100))


def test_an_unknown_id_names_the_known_ones() -> None:
    with pytest.raises(BundleError, match=r"lcn-letterbox-512-v1, stretch-luma-SIDE-v1, edgefracture-v1"):
        prepare("stretch-luma-0-v1", _limb(100, 100))


def test_every_8_bit_grey_level_comes_through_and_16_bit_is_rounded() -> None:
    levels = np.arange(256, dtype=np.uint16).reshape(16, 16).repeat(2, 0).repeat(2, 1)
    assert np.array_equal(stretch.luma(levels * 257, 32), levels)
    assert stretch.luma(np.full((32, 32), 128, dtype=np.uint16), 32).max() == 0
    assert stretch.luma(np.full((32, 32), 129, dtype=np.uint16), 32).min() == 1
    assert stretch.luma(np.full((32, 32), 65535, dtype=np.uint16), 32).min() == 255


def test_the_plane_is_pillows_and_the_contract_holds() -> None:
    grey = _limb(300, 200)
    prepared = prepare("stretch-luma-224-v1", grey)
    assert prepared.tensor.shape == (1, 1, 224, 224)
    assert prepared.tensor.dtype == np.float32
    assert 0.0 <= float(prepared.tensor.min()) < float(prepared.tensor.max()) <= 1.0
    eight = np.round(grey / 257.0).astype(np.uint8)
    # Rows first: Pillow's own order up to version 12; from 13 on it depends on the shape.
    along = Image.fromarray(eight).resize((224, 300), Image.Resampling.BILINEAR)
    wanted = np.asarray(along.resize((224, 224), Image.Resampling.BILINEAR))
    assert np.array_equal(np.round(prepared.tensor[0, 0] * 255).astype(np.uint8), wanted)


def test_the_way_back_is_exact_and_the_body_is_where_it_was_drawn() -> None:
    prepared = prepare("stretch-luma-224-v1", _limb(600, 400))
    assert prepared.geometry.content == pytest.approx((0.0, 0.0, 224.0, 224.0))
    assert prepared.geometry.to_image(112, 56) == pytest.approx((300.0, 100.0))
    cells = prepared.body_cells(7, 7)
    assert cells[:, 2].all()  # the limb lies from a quarter to a half of the width
    assert not cells[:, 5:].any()
