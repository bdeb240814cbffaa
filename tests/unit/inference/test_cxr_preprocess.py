"""CXR Foundation's preprocessing without TensorFlow: TensorFlow's golden values, an own Lanczos, and geometry."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image

from dicom_node.inference import cxr_preprocess as cxr
from dicom_node.inference.preprocess import prepare
from tests.support import legacy_resize

PLANES = legacy_resize.planes()


@pytest.mark.parametrize("name", PLANES)
def test_the_1280_stage_gives_tensorflow_s_golden_values(name: str) -> None:
    with np.load(legacy_resize.GOLDEN) as golden:
        wanted = golden[name]
    found = cxr.embedder_plane(PLANES[name])
    assert (found.dtype, found.shape) == (np.float32, (1280, 1280))
    assert np.array_equal(legacy_resize.sampled(found), wanted)


def test_golden_values_are_not_all_the_same() -> None:
    with np.load(legacy_resize.GOLDEN) as golden:
        assert set(golden.files) == set(PLANES)
        assert sum(float(golden[name].std()) > 0.1 for name in golden.files) >= 10


def test_a_flat_plane_is_nought_and_anything_else_spans_nought_to_one() -> None:
    for name, plane in PLANES.items():
        found = cxr.embedder_plane(plane)
        assert np.isfinite(found).all()
        ends = (0.0, 0.0) if name.startswith("flat") else (0.0, 1.0)
        assert (float(found.min()), float(found.max())) == ends


def test_gain_and_offset_of_a_file_do_not_matter() -> None:
    plane = (legacy_resize.noise(500, 400) >> 2).astype(np.uint16)
    first = cxr.embedder_plane(plane)
    assert np.abs(cxr.embedder_plane(plane * np.uint16(3) + np.uint16(700)) - first).max() < 1e-6


def _lanczos_weights(size: int, out: int) -> np.ndarray:
    """Return Pillow's kernel as a matrix: Lanczos of 3 lobes, widened where it shrinks."""
    scale = size / out
    width = max(scale, 1.0)
    centre = (np.arange(out) + 0.5) * scale
    x = (np.arange(size)[None] + 0.5 - centre[:, None]) / width
    weights = np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0.0)
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("shape", [(1500, 1100), (373, 454), (1024, 2048)])
def test_edgefracture_v1_is_a_lanczos_stretch_in_8_bit(shape: tuple[int, int]) -> None:
    eight = cv2.GaussianBlur((legacy_resize.noise(*shape) >> 8).astype(np.uint8), (0, 0), 0.8)
    plane = cxr.client_plane(cxr.EDGEFRACTURE_V1, eight.astype(np.uint16) * np.uint16(257))
    assert (plane.dtype, plane.shape) == (np.uint8, (1024, 1024))
    # Rows are rounded to 8 bit before columns are resized, as Pillow does it.
    along = np.clip(np.rint(eight @ _lanczos_weights(shape[1], 1024).T), 0, 255)
    wanted = np.clip(_lanczos_weights(shape[0], 1024) @ along, 0, 255)
    # Rounding alone leaves up to 0.45; OpenCV's filters and Pillow's others leave from 0.77 to 9.
    assert float(np.sqrt(((plane - wanted) ** 2).mean())) < 0.5


@pytest.mark.parametrize("shape", [(2500, 3000), (1789, 943), (264, 58), (313, 3021)])
def test_edgefracture_v1_is_pillow_s_lanczos_bit_by_bit_along_the_rows_first(shape: tuple[int, int]) -> None:
    eight = (legacy_resize.noise(*shape) >> 8).astype(np.uint8)
    along = Image.fromarray(eight).resize((1024, shape[0]), Image.Resampling.LANCZOS)
    wanted = np.asarray(along.resize((1024, 1024), Image.Resampling.LANCZOS))
    assert np.array_equal(cxr.client_plane(cxr.EDGEFRACTURE_V1, eight.astype(np.uint16) * np.uint16(257)), wanted)


def test_edgefracture_v1_gives_back_what_an_8_bit_file_held() -> None:
    steps = np.resize(np.arange(256, dtype=np.uint16), (1024, 1024))
    assert np.array_equal(cxr.client_plane(cxr.EDGEFRACTURE_V1, steps * np.uint16(257)), steps)


def test_google_dicom_v2_keeps_size_and_all_16_bits() -> None:
    grey = legacy_resize.noise(333, 222)
    assert cxr.client_plane(cxr.GOOGLE_DICOM_V2, grey) is grey
    fine = np.full((200, 200), 40000, dtype=np.uint16)
    fine[50:150, 50:150] = 40001
    assert prepare(cxr.GOOGLE_DICOM_V2, fine).tensor.max() == 1.0
    assert prepare(cxr.EDGEFRACTURE_V1, fine).tensor.max() == 0.0


@pytest.mark.parametrize("name", cxr.IDS)
@pytest.mark.parametrize("shape", [(900, 1300), (3000, 2500), (450, 373), (1280, 1280)])
def test_a_mark_is_found_where_it_was_drawn(name: str, shape: tuple[int, int]) -> None:
    rows, columns = shape
    y, x = np.indices(shape, dtype=np.float64)
    row, column, spread = 0.31 * rows, 0.64 * columns, min(shape) / 25
    grey = np.rint(60000 * np.exp(-((y + 0.5 - row) ** 2 + (x + 0.5 - column) ** 2) / (2 * spread**2)))
    prepared = prepare(name, grey.astype(np.uint16))
    plane = prepared.tensor[0, 0].astype(np.float64)
    v, u = np.indices(plane.shape) + 0.5
    found = prepared.geometry.to_image(float((plane * v).sum() / plane.sum()), float((plane * u).sum() / plane.sum()))
    # To a fiftieth of a pixel of the image; the half-pixel shift of the legacy resize alone is up to 0.7 of one.
    assert found == pytest.approx((row, column), abs=0.02)


@pytest.mark.parametrize("name", cxr.IDS)
def test_the_whole_image_is_stretched_and_its_body_known(name: str) -> None:
    grey = np.zeros((800, 600), dtype=np.uint16)
    grey[:, 200:400] = 30000 + (legacy_resize.noise(800, 200) >> 2)
    prepared = prepare(name, grey)
    assert prepared.tensor.shape == (1, 1, 1280, 1280)
    assert prepared.tensor.flags.c_contiguous
    cells = prepared.body_cells(40, 40)
    assert cells[:, 15:25].all()
    assert not cells[:, :11].any()
    assert not cells[:, 29:].any()
