"""The golden values are TensorFlow's own: every plane against the real operations, whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dicom_node.inference import cxr_preprocess as cxr
from tests.support import legacy_resize

PLANES = legacy_resize.planes()
EPSILON = np.finfo(np.float32).eps


def _resized(tf: Any, plane: np.ndarray) -> Any:
    return tf.raw_ops.ResizeBilinear(
        images=plane[None, :, :, None], size=[1280, 1280], align_corners=False, half_pixel_centers=False
    )


@pytest.mark.parametrize("name", PLANES)
def test_resize_and_min_max_are_tensorflow_s(name: str, tf: Any) -> None:
    resized = _resized(tf, PLANES[name])
    low, high = tf.reduce_min(resized), tf.reduce_max(resized)
    unit = tf.math.divide_no_nan(resized - low, high - low).numpy()[0, :, :, 0]
    # To float precision; where this was written, to the bit.
    assert np.abs(cxr.resize_legacy(PLANES[name]) - resized.numpy()[0, :, :, 0]).max() <= 65535 * EPSILON
    assert np.abs(cxr.embedder_plane(PLANES[name]) - unit).max() <= 4 * EPSILON
    with np.load(legacy_resize.GOLDEN) as golden:
        assert np.abs(golden[name] - legacy_resize.sampled(unit)).max() <= 4 * EPSILON


def test_tensorflow_1_s_own_call_is_the_same_operation(tf: Any) -> None:
    plane = PLANES["noise-373x454"]
    resized = tf.compat.v1.image.resize_bilinear(plane[None, :, :, None], [1280, 1280])
    assert np.array_equal(resized.numpy(), _resized(tf, plane).numpy())


def test_half_pixel_centres_are_another_operation(tf: Any) -> None:
    plane = PLANES["noise-373x454"]
    other = tf.image.resize(plane[..., None], [1280, 1280], method="bilinear").numpy()[:, :, 0]
    assert np.abs(other - cxr.resize_legacy(plane)).max() > 1000
