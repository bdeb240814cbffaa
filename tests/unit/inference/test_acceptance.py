"""The acceptance test on real models: what a runtime may change and what it may not, fail closed."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from dicom_node.cli.engine.images import drawn
from dicom_node.inference import acceptance
from dicom_node.inference.acceptance import Acceptance, compare
from dicom_node.inference.bundle import load_bundle
from dicom_node.inference.onnx_embedder import OnnxEmbedder

GOOD = Acceptance("a", "b", images=64, unfinished=0, cosine=1.0, logit=0.0, probability=0.0, peaks=1.0, outcomes=1.0)


@pytest.fixture(scope="module")
def images():
    found = list(drawn())
    assert len(found) == 64
    assert len({image.tobytes() for image in found}) == 64
    return found


def rounded(bundle, bits):
    """Return an embedder with the bundle's weights rounded to so many bits of mantissa (float16 has 11)."""
    model = onnx.load(str(bundle.embedder_path))
    for item in model.graph.initializer:
        if item.data_type == onnx.TensorProto.FLOAT:
            mantissa, exponent = np.frexp(numpy_helper.to_array(item))
            weights = np.ldexp(np.round(mantissa * 2**bits) / 2**bits, exponent).astype(np.float32)
            item.CopyFrom(numpy_helper.from_array(weights, item.name))
    bundle.embedder_path.write_bytes(model.SerializeToString())
    return OnnxEmbedder(bundle)


def test_weights_rounded_a_little_are_accepted_and_to_four_bits_are_not(compact, images):
    bundle = load_bundle(compact)
    reference = OnnxEmbedder(bundle)
    fine = compare(bundle, reference, rounded(bundle, 15), images)
    assert fine.problems == ()
    assert fine.images >= 64
    assert 0.0 < fine.logit <= 0.05
    # float16's 11 bits differ by more, and on these images by no more than is allowed (docs/adr: plans without TF32).
    half = compare(bundle, reference, rounded(bundle, 11), images[:8])
    assert fine.logit < half.logit <= 0.05
    assert fine.cosine > half.cosine
    coarse = compare(bundle, reference, rounded(bundle, 4), images[:8])
    assert not coarse.passed
    assert coarse.logit > 0.05
    assert any("logits differ" in problem for problem in coarse.problems)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"images": 63}, "63 images tried, 64 needed"),
        ({"unfinished": 1}, "no number for 1 images"),
        ({"cosine": 0.9989}, "cosine"),
        ({"cosine": float("nan")}, "cosine"),
        ({"logit": 0.051}, "logits differ by 0.0510"),
        ({"logit": float("nan")}, "logits"),
        ({"probability": 0.011}, "probabilities"),
        ({"peaks": 0.97}, "same peak on 97.0%"),
        ({"outcomes": 0.99}, "same outcome on 99.0%"),
    ],
)
def test_each_bound_alone_refuses(change, said):
    assert GOOD.passed
    refused = dataclasses.replace(GOOD, **change)
    assert not refused.passed
    assert len(refused.problems) == 1
    assert said in refused.problems[0]


class Broken:
    """An embedder that breaks the features of another in one place."""

    runtime = "broken"

    def __init__(self, embedder, value):
        self._embedder = embedder
        self._value = value

    def embed(self, tensor):
        features = self._embedder.embed(tensor).copy()
        features[16, 16, 0] = self._value
        return features

    def close(self):
        pass


def test_c45_one_value_that_is_no_number_refuses(make_bundle, hand):
    bundle = load_bundle(make_bundle())
    reference = OnnxEmbedder(bundle)
    found = compare(bundle, reference, Broken(reference, np.nan), [hand] * 64)
    assert (found.images, found.unfinished) == (64, 64)
    assert not found.passed


def test_another_strongest_cell_is_noticed(make_bundle, hand):
    bundle = load_bundle(make_bundle())
    reference = OnnxEmbedder(bundle)
    found = compare(bundle, reference, Broken(reference, 1e4), [hand])
    assert found.peaks < acceptance.PEAKS_MIN


def test_images_that_show_nothing_do_not_count(make_bundle, hand):
    bundle = load_bundle(make_bundle())
    reference = OnnxEmbedder(bundle)
    found = compare(bundle, reference, reference, [np.zeros_like(hand)] * 100 + [hand])
    assert found.images == 1
    assert found.problems == ("1 images tried, 64 needed",)
    assert compare(bundle, reference, reference, []).images == 0
