"""The preprocessing: the way back to the image, what it is blind to, the padding, and the body."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from dicom_node.core.errors import BundleError
from dicom_node.inference.preprocess import LCN_LETTERBOX_512, prepare

if TYPE_CHECKING:
    from numpy.typing import NDArray


def _limb(rows: int, columns: int, *, low: int = 2000, high: int = 50000) -> NDArray[np.uint16]:
    """Return a bright, textured vertical bar (a limb with a bone) on a black field."""
    random = np.random.default_rng(7)
    image = np.full((rows, columns), float(low))
    left, right = columns * 3 // 10, columns * 7 // 10
    image[:, left:right] = (low + high) / 2
    image[:, columns * 45 // 100 : columns * 55 // 100] = high
    image[:, left:right] += random.normal(0, (high - low) / 40, (rows, right - left))
    return np.asarray(np.clip(image, 0, 65535), dtype=np.uint16)


@pytest.mark.parametrize("shape", [(454, 373), (373, 454), (2500, 3000), (512, 512), (90, 2000), (1, 700), (1, 1)])
def test_input_has_the_contracted_form(shape: tuple[int, int]) -> None:
    prepared = prepare(LCN_LETTERBOX_512, _limb(*shape))
    assert prepared.tensor.shape == (1, 1, 512, 512)
    assert prepared.tensor.dtype == np.float32
    assert prepared.tensor.flags.c_contiguous
    assert np.isfinite(prepared.tensor).all()
    assert prepared.body.shape == (512, 512)
    assert prepared.body.dtype == np.bool_


@pytest.mark.parametrize("shape", [(454, 373), (373, 454), (2500, 3000), (90, 2000), (7, 700)])
def test_content_maps_back_to_the_whole_image(shape: tuple[int, int]) -> None:
    geometry = prepare(LCN_LETTERBOX_512, _limb(*shape)).geometry
    top, left, bottom, right = geometry.content
    assert geometry.to_image(top, left) == pytest.approx((0.0, 0.0), abs=1e-9)
    assert geometry.to_image(bottom, right) == pytest.approx(shape, abs=1e-6)
    assert geometry.content == pytest.approx(tuple(round(edge) for edge in geometry.content), abs=1e-9)


def test_a_mark_is_found_where_it_was_drawn() -> None:
    image = np.full((1200, 800), 20000, dtype=np.uint16)
    image[300:330, 610:640] = 60000
    prepared = prepare(LCN_LETTERBOX_512, image)
    y, x = np.unravel_index(int(prepared.tensor[0, 0].argmax()), (512, 512))
    row, column = prepared.geometry.to_image(float(y) + 0.5, float(x) + 0.5)
    assert 295 < row < 335
    assert 605 < column < 645


@pytest.mark.parametrize(("gain", "offset"), [(0.5, 0), (0.5, 20000), (0.25, 3000)])
def test_window_and_level_hardly_matter(gain: float, offset: int) -> None:
    image = _limb(900, 700)
    changed = np.asarray(np.round(image * gain + offset), dtype=np.uint16)
    first, second = prepare(LCN_LETTERBOX_512, image), prepare(LCN_LETTERBOX_512, changed)
    assert np.abs(first.tensor - second.tensor).max() < 0.02
    assert (first.body == second.body).mean() > 0.999


@pytest.mark.parametrize("shape", [(900, 450), (450, 900)])
def test_padding_is_exactly_zero_and_never_body(shape: tuple[int, int]) -> None:
    prepared = prepare(LCN_LETTERBOX_512, _limb(*shape, low=30000))
    top, left, bottom, right = (round(edge) for edge in prepared.geometry.content)
    padding = np.ones((512, 512), dtype=np.bool_)
    padding[top:bottom, left:right] = False
    assert padding.any()
    assert not prepared.tensor[0, 0][padding].any()
    assert not prepared.body[padding].any()


def test_padding_does_not_leak_into_the_content() -> None:
    # The border is mirrored, not darkened: a tilted plane is as flat beside the padding as inside.
    ramp = np.tile(np.linspace(20000, 40000, 256), (512, 1))
    tensor = prepare(LCN_LETTERBOX_512, np.asarray(ramp, dtype=np.uint16)).tensor[0, 0]
    assert np.abs(tensor[:4, 200:300]).max() < 0.2


def test_body_is_the_limb_and_not_the_black_field() -> None:
    prepared = prepare(LCN_LETTERBOX_512, _limb(1024, 1024))
    assert prepared.body[:, 170:340].all()
    assert not prepared.body[:, :120].any()
    assert not prepared.body[:, 400:].any()


def test_a_white_border_does_not_hide_the_body() -> None:
    image = _limb(1024, 1024, high=20000)
    image[-20:, :] = 65535
    prepared = prepare(LCN_LETTERBOX_512, image)
    assert prepared.body[50:450, 170:340].mean() > 0.99


def test_a_flat_image_is_zero_and_all_body() -> None:
    prepared = prepare(LCN_LETTERBOX_512, np.full((600, 300), 1234, dtype=np.uint16))
    assert not prepared.tensor.any()
    assert prepared.body.sum() == 512 * 256


def test_cells_are_body_where_half_of_their_pixels_are() -> None:
    prepared = prepare(LCN_LETTERBOX_512, _limb(1024, 1024))
    cells = prepared.body_cells(32, 32)
    assert cells.shape == (32, 32)
    assert cells[:, 12:20].all()
    assert not cells[:, :7].any()
    with pytest.raises(BundleError, match="whole cells"):
        prepared.body_cells(30, 30)


def test_an_unknown_id_is_refused() -> None:
    with pytest.raises(BundleError, match="unknown preprocessing"):
        prepare("google-dicom-v3", _limb(64, 64))
