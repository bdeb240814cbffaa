"""The compact embedder: a stride-16 residual network whose feature map ends in detection channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

STRIDE: Final = 16
CHANNELS: Final = 96
# The last channels are functions of the dense box head's logit. A linear head over average-pooled features could not
# see one small bright cell among a thousand; with them it can, because the squashing is done before the pooling.
TRUNK_CHANNELS: Final = 92
LOGIT_CHANNEL: Final = 92
_WIDTHS: Final = (16, 32, 64)


@dataclass(frozen=True, slots=True)
class Architecture:
    """The sizes a network is built from, kept beside its weights."""

    widths: tuple[int, int, int] = _WIDTHS
    blocks: tuple[int, int, int] = (1, 2, 3)


class Residual(nn.Module):  # type: ignore[misc] # torch is read as Any
    """Two 3x3 convolutions around a shortcut; the first one may halve the grid."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            pool: nn.Module = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
            self.shortcut = nn.Sequential(pool, nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        return torch.relu(self.body(x) + self.shortcut(x))


class BoxHead(nn.Module):  # type: ignore[misc] # torch is read as Any
    """Trunk [B, 92, h, w] to features [B, 96, h, w]: the trunk, and functions of the dense box head's logit."""

    def __init__(self) -> None:
        super().__init__()
        self.localiser = nn.Conv2d(TRUNK_CHANNELS, 1, 1)
        # A fracture covers about one cell in a hundred: the focal loss starts from that prior.
        nn.init.normal_(self.localiser.weight, std=0.01)
        nn.init.constant_(self.localiser.bias, -4.0)

    def forward(self, trunk: Tensor) -> Tensor:
        """Return the features, channels first."""
        logit = self.localiser(trunk)
        share = torch.sigmoid(logit)
        # Scaled, so that a few bright cells among a thousand still count for something in the mean. The square and the
        # softplus leave next to nothing of the many cells that are only a little doubtful.
        bright = [16.0 * share, 128.0 * share * share, 32.0 * nn.functional.softplus(2.0 * logit)]
        return torch.cat([trunk, logit, *bright], dim=1)


class CompactEmbedder(nn.Module):  # type: ignore[misc] # torch is read as Any
    """Image [B, 1, H, W] to features [B, 96, H/16, W/16] with the dense box head's logit as one of the channels."""

    def __init__(self, architecture: Architecture | None = None) -> None:
        super().__init__()
        sizes = architecture or Architecture()
        first, second, third = sizes.widths
        layers: list[nn.Module] = [
            nn.Conv2d(1, first, 5, 2, 2, bias=False),
            nn.BatchNorm2d(first),
            nn.ReLU(inplace=True),
        ]
        inputs = first
        for outputs, count in zip((second, third, TRUNK_CHANNELS), sizes.blocks, strict=True):
            layers.append(Residual(inputs, outputs, 2))
            layers.extend(Residual(outputs, outputs, 1) for _ in range(count - 1))
            inputs = outputs
        self.trunk = nn.Sequential(*layers)
        self.head = BoxHead()

    def forward(self, x: Tensor) -> Tensor:
        """Return the features, channels first."""
        return self.head(self.trunk(x))


class ChannelsLast(nn.Module):  # type: ignore[misc] # torch is read as Any
    """The embedder as a bundle carries it: output [B, rows, columns, channels]."""

    def __init__(self, embedder: CompactEmbedder) -> None:
        super().__init__()
        self.embedder = embedder

    def forward(self, image: Tensor) -> Tensor:
        """Return the features, channels last."""
        return self.embedder(image).permute(0, 2, 3, 1).contiguous()
