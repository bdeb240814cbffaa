"""The closed forms are pytorch-grad-cam's own raw maps, and what is called evidence sums to the score."""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the lab needs torch: pip install 'dicom-node[lab]'")

from torch import nn  # noqa: E402 - after the skip

from dicom_node.inference import head as inference_head  # noqa: E402 - after the skip
from dicom_node.inference.bundle import Head  # noqa: E402 - after the skip
from dicom_node.inference.evidence import evidence_map  # noqa: E402 - after the skip
from dicom_node.lab import gradcam  # noqa: E402 - after the skip
from dicom_node.lab.network import CompactEmbedder  # noqa: E402 - after the skip
from dicom_node.lab.resnet import ResNet18  # noqa: E402 - after the skip
from dicom_node.lab.runs import LabError  # noqa: E402 - after the skip

GRID, CHANNELS, POOL = 8, 1376, 5


@pytest.fixture(scope="module", autouse=True)
def _reference() -> None:
    try:
        gradcam.load_reference()
    except LabError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))


class Flattened(nn.Module):
    """A pooled map as CXR Foundation gives it, flattened in the order row, column, channel, under one linear layer."""

    def __init__(self, pool: int) -> None:
        super().__init__()
        self.map = nn.Identity()
        self.pool = nn.AvgPool2d(pool)
        self.fc = nn.Linear(GRID * GRID * CHANNELS, 1)

    def forward(self, x: Any) -> Any:
        return self.fc(self.pool(self.map(x)).permute(0, 2, 3, 1).flatten(1))

    @property
    def head(self) -> Head:
        weight = self.fc.weight.detach().numpy().reshape(GRID, GRID, CHANNELS)
        return Head(weight, float(self.fc.bias.detach()[0]), None, 0.0)


def _close(maps: np.ndarray, reference: np.ndarray) -> None:
    assert maps.shape == reference.shape
    for ours, theirs in zip(maps, reference, strict=True):
        assert gradcam.relative_difference(ours, theirs) <= 1e-5


@pytest.fixture(scope="module")
def resnet() -> tuple[ResNet18, Any, np.ndarray, Head, np.ndarray]:
    torch.manual_seed(3)
    model = ResNet18(1)
    with torch.no_grad():
        for module in model.modules():  # statistics of a network that has seen something
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 2.0)
        model.fc.weight.normal_(0, 0.05)
    model.eval()
    images = torch.rand(5, 1, 224, 224)
    with torch.no_grad():
        features = model.features(images).permute(0, 2, 3, 1).numpy()
        z = model(images)[:, 0].numpy()
    weight = model.fc.weight.detach().numpy()[0]
    return model, images, features, gradcam.pooled_head(weight, float(model.fc.bias.detach()[0]), 7, 7), z


@pytest.mark.parametrize(("method", "ours"), [("GradCAM", gradcam.grad_cam), ("HiResCAM", gradcam.hires_cam)])
def test_resnet_maps_are_pytorch_grad_cams(resnet: Any, method: str, ours: Any) -> None:
    model, images, features, head, _ = resnet
    reference = gradcam.raw_maps(model, model.target_layer, images, method)
    assert reference.shape == (5, 7, 7)
    assert reference.min() < 0 < reference.max()
    _close(np.stack([ours(one, head, 1) for one in features]), reference)


def test_resnet_evidence_sums_to_the_score_on_every_image(resnet: Any) -> None:
    _, _, features, head, z = resnet
    for one, score in zip(features, z, strict=True):
        assert gradcam.residue(evidence_map(one, head, 1), head.bias, float(score)) <= gradcam.TOLERANCE
        assert inference_head.logit(one, head, 1) == pytest.approx(float(score), abs=gradcam.TOLERANCE)


@pytest.mark.parametrize("pool", [1, POOL], ids=["8x8", "40x40 before the pool"])
def test_flattened_head_maps_are_pytorch_grad_cams_and_sum_to_one_logit(pool: int) -> None:
    torch.manual_seed(4)
    model = Flattened(pool).eval()
    features = torch.rand(3, CHANNELS, GRID * pool, GRID * pool).requires_grad_()
    with torch.no_grad():
        z = model(features)[:, 0].numpy()
    last = features.detach().permute(0, 2, 3, 1).numpy()
    for method, ours in (("GradCAM", gradcam.grad_cam), ("HiResCAM", gradcam.hires_cam)):
        reference = gradcam.raw_maps(model, model.map, features, method)
        _close(np.stack([ours(one, model.head, pool) for one in last]), reference)
    for one, score in zip(last, z, strict=True):
        evidence = evidence_map(one, model.head, pool)
        assert evidence.shape == (GRID * pool, GRID * pool)
        assert gradcam.residue(evidence, model.head.bias, float(score)) <= gradcam.TOLERANCE


def test_map_before_the_pool_and_after_it_tell_one_story() -> None:
    random = np.random.default_rng(5)
    model = Flattened(POOL)
    fine = random.random((GRID * POOL, GRID * POOL, CHANNELS), dtype=np.float32)
    coarse = fine.reshape(GRID, POOL, GRID, POOL, CHANNELS).mean((1, 3))
    block_sums = evidence_map(fine, model.head, POOL).reshape(GRID, POOL, GRID, POOL).sum((1, 3))
    assert block_sums == pytest.approx(evidence_map(coarse, model.head, 1), abs=1e-4)


def test_compact_networks_maps_are_pytorch_grad_cams_too() -> None:
    torch.manual_seed(6)
    embedder, fc = CompactEmbedder(), nn.Linear(96, 1)
    model = nn.Sequential(embedder, nn.AdaptiveAvgPool2d(1), nn.Flatten(), fc).eval()
    images = torch.randn(2, 1, 128, 128)
    with torch.no_grad():
        features = embedder(images).permute(0, 2, 3, 1).numpy()
    head = gradcam.pooled_head(fc.weight.detach().numpy()[0], float(fc.bias.detach()[0]), 8, 8)
    for method, ours in (("GradCAM", gradcam.grad_cam), ("HiResCAM", gradcam.hires_cam)):
        _close(np.stack([ours(one, head, 1) for one in features]), gradcam.raw_maps(model, embedder, images, method))


def test_a_mixed_up_channel_order_is_caught(resnet: Any) -> None:
    _, _, features, head, z = resnet
    mixed = np.ascontiguousarray(features[0][..., ::-1])
    assert gradcam.residue(evidence_map(mixed, head, 1), head.bias, float(z[0])) > gradcam.TOLERANCE


def test_the_stand_in_leaves_nothing_behind() -> None:
    module = sys.modules.get("torchvision")
    assert module is None or getattr(module, "__file__", None) is not None
