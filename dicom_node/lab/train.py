"""Training an embedder and its linear head: crops at fractures first, then whole images, within a budget."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from dicom_node.lab.lite import LiteEmbedder
from dicom_node.lab.network import CHANNELS, LOGIT_CHANNEL, CompactEmbedder
from dicom_node.lab.progress import say
from dicom_node.lab.runs import LabError

if TYPE_CHECKING:
    from dicom_node.lab.sampling import Batch, Sampler


Embedder = LiteEmbedder | CompactEmbedder
NETWORKS: Final = {"lite0": LiteEmbedder, "compact": CompactEmbedder}
_HEAD_RATE: Final = 3.0


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one embedder is trained, for a wall time in seconds or, where steps is not 0, for so many steps.

    network: "lite0" or "compact". start: "imagenet" (lite0 only) or "scratch". crop_share: the part of the budget that
    is spent on crops. Steps give the same model on a busy machine as on an idle one. backbone_rate: the learning rate
    of what starts from ImageNet's weights, as a share of the rest's.
    """

    seconds: float
    steps: int = 0
    network: str = "lite0"
    start: str = "imagenet"
    backbone_rate: float = 0.5
    crop_share: float = 0.3
    crop_batch: int = 32
    crop_side: int = 192
    whole_batch: int = 8
    whole_share: float = 0.4
    rate: float = 1e-3
    decay: float = 0.03
    average: float = 0.996
    bfloat16: bool = False


class Objective(nn.Module):  # type: ignore[misc] # torch is read as Any
    """The embedder, the linear head on its mean features, and a pooled crop score that only training needs."""

    def __init__(self, embedder: Embedder) -> None:
        super().__init__()
        self.embedder = embedder
        self.gain = nn.Parameter(torch.tensor(1.0))
        self.offset = nn.Parameter(torch.tensor(0.0))
        self.image_head = nn.Linear(CHANNELS, 1)
        nn.init.zeros_(self.image_head.weight)

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss of a batch of crops or of whole images."""
        features = self.embedder(batch.inputs.to(memory_format=torch.channels_last)).float()
        cells = features[:, LOGIT_CHANNEL]
        pooled = torch.logsumexp(cells.flatten(1), 1) * self.gain + self.offset
        whether = functional.binary_cross_entropy_with_logits(pooled, batch.label)
        scored = self.image_head(features.mean((2, 3)))[:, 0]
        linear = functional.binary_cross_entropy_with_logits(scored, batch.label)
        return focal(cells, batch.cells) + 0.5 * whether + 0.5 * linear


def focal(logits: Tensor, cells: Tensor, gamma: float = 2.0, positive: float = 0.75) -> Tensor:
    """Return the focal loss over the cells that are asked (target 0 or 1), per fractured cell."""
    asked = cells >= 0
    target = cells.clamp(min=0.0)
    loss = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    share = torch.sigmoid(logits)
    miss = torch.where(target > 0, 1 - share, share)
    weight = torch.where(target > 0, positive, 1 - positive) * miss**gamma
    return (loss * weight * asked).sum() / (target.sum() + 1.0)


class _Average:
    """An exponential mean of the weights: one run's stand-in for an ensemble."""

    def __init__(self, model: nn.Module, keep: float) -> None:
        self._keep = keep
        self._mean = {name: value.detach().clone() for name, value in model.state_dict().items()}
        self._steps = 0

    def update(self, model: nn.Module) -> None:
        self._steps += 1
        keep = min(self._keep, (1 + self._steps) / (10 + self._steps))
        for name, value in model.state_dict().items():
            if value.dtype.is_floating_point:
                self._mean[name].lerp_(value.detach(), 1 - keep)
            else:
                self._mean[name].copy_(value)

    def load_into(self, model: nn.Module) -> None:
        model.load_state_dict(self._mean)


def build(recipe: Recipe) -> Embedder:
    """Return an embedder as the recipe starts it."""
    embedder: Embedder = NETWORKS[recipe.network]()
    if recipe.start == "imagenet":
        if not isinstance(embedder, LiteEmbedder):
            message = f"there are no ImageNet weights for {recipe.network}: train it with --start scratch"
            raise LabError(message)
        embedder.start_from_imagenet()
    return embedder


def train(sampler: Sampler, recipe: Recipe, seed: int, name: str) -> tuple[Objective, int]:
    """Return what was trained within the recipe's budget, its weights the run's mean, and its steps."""
    torch.manual_seed(seed)
    objective = Objective(build(recipe)).to(memory_format=torch.channels_last)
    objective.train()
    optimizer = torch.optim.AdamW(_rates(objective, recipe), lr=recipe.rate, weight_decay=recipe.decay)
    average = _Average(objective, recipe.average)
    start = time.monotonic()
    step, shown, mean = 0, 0.0, math.nan
    while (done := _done(recipe, step, time.monotonic() - start)) < 1.0 or step == 0:
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate * group["share"] * _schedule(done)
        loss = _step(objective, optimizer, _draw(sampler, recipe, done), recipe)
        average.update(objective)
        step += 1
        mean = loss if math.isnan(mean) else 0.98 * mean + 0.02 * loss
        if done - shown >= 0.1:  # noqa: PLR2004 - ten lines a run
            shown = done
            left = (time.monotonic() - start) * (1.0 - done) / done / 60.0
            say(f"{name}: {done:4.0%}  step {step}  loss {mean:.3f}  about {left:.0f} min left")
    average.load_into(objective)
    say(f"{name}: done, {step} steps, loss {mean:.3f}")
    return objective.eval(), step


def _rates(objective: Objective, recipe: Recipe) -> list[dict[str, Any]]:
    """Return the parameter groups: what starts from ImageNet's weights learns more slowly, the head faster."""
    pretrained = recipe.start == "imagenet"
    shares: dict[float, list[nn.Parameter]] = {}
    for name, parameter in objective.named_parameters():
        if parameter.requires_grad:
            share = recipe.backbone_rate if pretrained and ".backbone." in name else 1.0
            # The means of rare features are small: the head has far to go.
            share = _HEAD_RATE if name.startswith("image_head.") else share
            shares.setdefault(share, []).append(parameter)
    return [{"params": parameters, "share": share} for share, parameters in shares.items()]


def _done(recipe: Recipe, step: int, elapsed: float) -> float:
    return step / recipe.steps if recipe.steps else elapsed / recipe.seconds


def _draw(sampler: Sampler, recipe: Recipe, done: float) -> Batch:
    if done < recipe.crop_share:
        return sampler.crops(recipe.crop_batch, recipe.crop_side)
    return sampler.whole(recipe.whole_batch, recipe.whole_share)


def _schedule(done: float) -> float:
    warm = min(1.0, 0.1 + done / 0.03)
    return warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


def _step(objective: Objective, optimizer: torch.optim.Optimizer, batch: Batch, recipe: Recipe) -> float:
    with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bfloat16):
        loss = objective(batch)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(objective.parameters(), 5.0)
    optimizer.step()
    return float(loss.detach())
