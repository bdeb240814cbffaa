"""ResNet-18 has the published names, sizes and arithmetic."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the lab needs torch: pip install 'dicom-node[lab]'")

from dicom_node.lab.resnet import ResNet18, load_published  # noqa: E402 - after the skip
from dicom_node.lab.runs import LabError  # noqa: E402 - after the skip


def test_names_and_sizes_are_the_published_ones() -> None:
    model = ResNet18(1000)
    assert sum(value.numel() for value in model.parameters()) == 11_689_512
    names = list(model.state_dict())
    assert len(names) == 122
    assert names[0] == "conv1.weight"
    assert {"layer1.0.bn2.running_var", "layer2.0.downsample.0.weight", "layer4.1.conv2.weight", "fc.bias"} <= set(
        names
    )
    assert "layer1.0.downsample.0.weight" not in names
    assert model.state_dict()["layer3.0.downsample.1.weight"].shape == (256,)


def test_published_weights_load_for_another_number_of_classes() -> None:
    source, model = ResNet18(1000), ResNet18(1)
    kept = load_published(model, source.state_dict())
    assert kept == ("fc.weight", "fc.bias")
    assert torch.equal(model.layer4[1].conv2.weight, source.layer4[1].conv2.weight)
    old = {name: value for name, value in source.state_dict().items() if "num_batches" not in name}
    assert load_published(ResNet18(1000), old) == ()


@pytest.mark.parametrize("wrong", ["missing", "foreign", "misshapen"])
def test_other_weights_are_refused(wrong: str) -> None:
    weights = ResNet18(1000).state_dict()
    if wrong == "missing":
        del weights["layer1.0.conv1.weight"]
    elif wrong == "foreign":
        weights["head.weight"] = torch.zeros(1)
    else:
        weights["conv1.weight"] = torch.zeros(64, 1, 7, 7)
    with pytest.raises(LabError, match="these are not ResNet-18 weights: 1 tensors"):
        load_published(ResNet18(1), weights)


def test_grey_counts_as_three_equal_channels_and_the_grid_is_a_thirty_second() -> None:
    model = ResNet18(1).eval()
    grey = torch.rand(2, 1, 96, 64)
    with torch.no_grad():
        assert model.features(grey).shape == (2, 512, 3, 2)
        assert torch.allclose(model(grey), model(grey.expand(-1, 3, -1, -1)))
        pooled = model.features(grey).mean((2, 3))
        assert torch.allclose(model(grey), model.fc(pooled), atol=1e-6)
