"""Training the compact embedder: crops at fractures first, then whole images, within a time budget."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from dicom_node.lab.network import CHANNELS, CompactEmbedder
from dicom_node.lab.progress import say

if TYPE_CHECKING:
    from dicom_node.lab.sampling import Batch, Sampler


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one embedder is trained, for a wall time in seconds or, where steps is not 0, for so many steps.

    crop_share: the part of it that is spent on crops. Steps give the same model on a busy machine as on an idle one.
    """

    seconds: float
    steps: int = 0
    crop_share: float = 0.75
    crop_batch: int = 32
    crop_side: int = 192
    whole_batch: int = 8
    whole_share: float = 0.4
    rate: float = 2e-3
    decay: float = 0.03
    average: float = 0.996
    bfloat16: bool = False


class Objective(nn.Module):  # type: ignore[misc] # torch is read as Any
    """The embedder with the two small parts that only training needs: a pooled crop score and an image head."""

    def __init__(self, embedder: CompactEmbedder) -> None:
        super().__init__()
        self.embedder = embedder
        self.gain = nn.Parameter(torch.tensor(1.0))
        self.offset = nn.Parameter(torch.tensor(0.0))
        self.image_head = nn.Linear(CHANNELS, 1)

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss of a batch of crops or of whole images."""
        features = self.embedder(batch.inputs.to(memory_format=torch.channels_last)).float()
        cells = features[:, -4]
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


def train(sampler: Sampler, recipe: Recipe, seed: int, name: str) -> tuple[CompactEmbedder, int]:
    """Return an embedder trained from scratch within the recipe's budget, its weights the run's mean, and its steps."""
    torch.manual_seed(seed)
    objective = Objective(CompactEmbedder()).to(memory_format=torch.channels_last)
    objective.train()
    optimizer = torch.optim.AdamW(objective.parameters(), lr=recipe.rate, weight_decay=recipe.decay)
    average = _Average(objective, recipe.average)
    start = time.monotonic()
    step, shown, mean = 0, 0.0, math.nan
    while (done := _done(recipe, step, time.monotonic() - start)) < 1.0 or step == 0:
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate * _schedule(done)
        loss = _step(objective, optimizer, _draw(sampler, recipe, done), recipe)
        average.update(objective)
        step += 1
        mean = loss if math.isnan(mean) else 0.98 * mean + 0.02 * loss
        if done - shown >= 0.1:  # noqa: PLR2004 - ten lines a run
            shown = done
            say(f"{name}: {done:4.0%}  step {step}  loss {mean:.3f}")
    average.load_into(objective)
    say(f"{name}: done, {step} steps, loss {mean:.3f}")
    embedder: CompactEmbedder = objective.embedder.eval()
    return embedder, step


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
