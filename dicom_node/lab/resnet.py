"""ResNet-18 in plain torch, with torchvision's parameter names, so that its published state dicts load as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn

from dicom_node.lab.runs import LabError

if TYPE_CHECKING:
    from collections.abc import Mapping

CHANNELS: Final = 512
STRIDE: Final = 32
# What the published weights were trained with: grey levels in [0, 1], standardised channel by channel.
_MEAN: Final = (0.485, 0.456, 0.406)
_DEVIATION: Final = (0.229, 0.224, 0.225)
_RGB: Final = 3


class BasicBlock(nn.Module):  # type: ignore[misc] # torch is read as Any
    """Two 3x3 convolutions around a shortcut (He et al., arXiv 1512.03385, figure 5 left)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        shortcut = x if self.downsample is None else self.downsample(x)
        inner = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(inner)) + shortcut)


class ResNet18(nn.Module):  # type: ignore[misc] # torch is read as Any
    """Image [B, 1 or 3, H, W] in [0, 1] to logits [B, outputs], by way of features [B, 512, H/32, W/32]."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(_RGB, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = nn.Sequential(BasicBlock(64, 64, 1), BasicBlock(64, 64, 1))
        self.layer2 = nn.Sequential(BasicBlock(64, 128, 2), BasicBlock(128, 128, 1))
        self.layer3 = nn.Sequential(BasicBlock(128, 256, 2), BasicBlock(256, 256, 1))
        self.layer4 = nn.Sequential(BasicBlock(256, CHANNELS, 2), BasicBlock(CHANNELS, CHANNELS, 1))
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(CHANNELS, outputs)
        # Not persistent: torchvision's state dicts do not hold them.
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, _RGB, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(_DEVIATION).view(1, _RGB, 1, 1), persistent=False)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def features(self, x: Tensor) -> Tensor:
        """Return the last feature map, channels first."""
        x = self.stem((x - self.mean) / self.deviation)
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))

    def stem(self, x: Tensor) -> Tensor:
        """Return what the first stage gets from a standardised image."""
        return self.maxpool(self.relu(self.bn1(self.conv1(x))))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits: the mean over the map, then one linear layer."""
        return self.fc(torch.flatten(self.avgpool(self.features(x)), 1))

    @property
    def target_layer(self) -> nn.Module:
        """Return the layer whose output is the feature map."""
        return self.layer4


def load_published(model: ResNet18, weights: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Load a state dict of torchvision's resnet18, and return the names that stayed as they were.

    Only the last layer may differ (a thousand classes there); anything else missing or misshapen is an error.
    """
    own = model.state_dict()
    fits = {name: value for name, value in weights.items() if name in own and own[name].shape == value.shape}
    # Counters of batches are missing from old files and change nothing in use.
    kept = tuple(name for name in own if name not in fits and not name.endswith("num_batches_tracked"))
    wrong = [name for name in kept if not name.startswith("fc.")] + [name for name in weights if name not in own]
    if wrong:
        message = f"these are not ResNet-18 weights: {len(wrong)} tensors do not fit, such as {wrong[0]!r}"
        raise LabError(message)
    model.load_state_dict({**own, **fits})
    return kept
