"""Training a classifier on image labels: weighted loss, early stopping on validation AUC, resumed where it stopped."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dicom_node.lab import hybrid, metrics
from dicom_node.lab.hybrid import WEIGHTS, Material
from dicom_node.lab.layouts import TRAIN, VAL
from dicom_node.lab.progress import say, track

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from dicom_node.lab.hybrid import Classifier, Shape

LAST: Final = "last.pt"
_LEAST: Final = 1e-4


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a classifier is trained.

    optimizer: "adamw" or "adam". rate, decay: its learning rate and weight decay. patience: epochs without a better
    validation AUC (or the same with a lower loss) before it stops. weighting: fractures weigh (others / fractures) in
    the loss. augment: mirror, turn, zoom and shift the training images.
    """

    optimizer: str
    rate: float
    decay: float
    batch: int
    epochs: int
    patience: int
    weighting: bool
    augment: bool
    seed: int


@dataclass(frozen=True, slots=True)
class Epoch:
    """One epoch's figures; auc and held_out_loss (without class weights) are the validation's."""

    number: int
    loss: float
    auc: float
    held_out_loss: float
    seconds: float


@dataclass(slots=True)
class _State:
    """What an interrupted run is resumed from."""

    history: list[Epoch] = field(default_factory=list)
    best_auc: float = -math.inf
    best_loss: float = math.inf
    best_epoch: int = 0

    def improves(self, auc: float, loss: float) -> bool:
        # Equal AUCs are told apart by the loss: a ranking may be perfect while every probability is on one side of 0.5.
        return auc > self.best_auc + _LEAST or (auc >= self.best_auc - _LEAST and loss < self.best_loss)

    def is_over(self, recipe: Recipe) -> bool:
        done = len(self.history)
        return done >= recipe.epochs or done - self.best_epoch >= recipe.patience


@dataclass(frozen=True, slots=True)
class Trained:
    """Every epoch's figures, and which was the best."""

    history: tuple[Epoch, ...]
    best_epoch: int
    best_auc: float
    pos_weight: float


@dataclass(frozen=True, slots=True)
class Task:
    """Everything that one training needs: the untrained network, the images, the recipe, and where files go."""

    model: Classifier
    shape: Shape
    material: Material
    recipe: Recipe
    folder: Path
    device: str = "cpu"


def train(task: Task) -> Trained:
    """Train from the first epoch, or from the one that the folder's last.pt holds, and keep the best network.

    Order and augmentation of an epoch depend on the seed and the epoch's number only, so that an interrupted run and an
    uninterrupted one give the same network.
    """
    rows, places = task.material.of(TRAIN)
    labels = torch.tensor([float(row.label) for row in rows])
    weight = float((1 - labels).sum() / labels.sum()) if task.recipe.weighting else 1.0
    loss = _loss(task.shape.outputs, weight, task.device)
    model = task.model.to(task.device)
    optimizer = _optimizer(model, task.recipe)
    state = _resume(task, model, optimizer)
    while not state.is_over(task.recipe):
        start = time.monotonic()
        number = len(state.history) + 1
        mean = _epoch(task, model, optimizer, loss, (places, labels), number)
        auc, held_out_loss = validate(task, model)
        state.history.append(Epoch(number, mean, auc, held_out_loss, time.monotonic() - start))
        if state.improves(auc, held_out_loss):
            state.best_auc, state.best_loss, state.best_epoch = max(auc, state.best_auc), held_out_loss, number
            hybrid.save(task.folder / WEIGHTS, task.shape, _on_cpu(model.state_dict()))
        _keep(task, model, optimizer, state)
        say(_line(task.recipe, state))
    return Trained(tuple(state.history), state.best_epoch, state.best_auc, weight)


def _line(recipe: Recipe, state: _State) -> str:
    last = state.history[-1]
    mean = sum(one.seconds for one in state.history) / len(state.history)
    left = 0.0 if state.is_over(recipe) else mean * (recipe.epochs - last.number) / 60.0
    return (
        f"epoch {last.number} of {recipe.epochs}: loss {last.loss:.4f}, validation AUC {last.auc:.4f} "
        f"(best {state.best_auc:.4f} in epoch {state.best_epoch}), at most {left:.1f} min left"
    )


def _loss(outputs: int, weight: float, device: str) -> Callable[[Tensor, Tensor], Tensor]:
    if outputs == 1:
        pos_weight = torch.tensor(weight, device=device)
        return lambda logits, y: functional.binary_cross_entropy_with_logits(logits[:, 0], y, pos_weight=pos_weight)
    weights = torch.tensor([1.0, weight], device=device)
    return lambda logits, y: functional.cross_entropy(logits, y.long(), weight=weights)


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    kind = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
    return kind(model.parameters(), lr=recipe.rate, weight_decay=recipe.decay)


def _epoch(
    task: Task,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: Callable[[Tensor, Tensor], Tensor],
    learnt: tuple[NDArray[np.int64], Tensor],
    number: int,
) -> float:
    places, labels = learnt
    generator = torch.Generator().manual_seed(task.recipe.seed * 100_003 + number)
    order = torch.randperm(len(places), generator=generator).numpy()
    parts = hybrid.chunks(order, task.recipe.batch)
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts.pop()  # batch normalisation has no deviation over one image; another epoch's order will bring it
    model.train()
    total, seen = 0.0, 0
    for part in track(parts, f"epoch {number} of {task.recipe.epochs}, batches"):
        x = task.material.inputs.batch(places[part])
        if task.recipe.augment:
            x = augment(x, generator)
        value = loss(model(x.to(task.device)), labels[torch.from_numpy(part)].to(task.device))
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()
        total += float(value.detach()) * len(part)
        seen += len(part)
    return total / seen


def augment(x: Tensor, generator: torch.Generator) -> Tensor:
    """Return the batch [B, 1, S, S], each image mirrored or not, turned, zoomed, shifted and changed in contrast."""
    n = len(x)
    draw = torch.rand(6, n, generator=generator)
    angle = (draw[0] - 0.5) * 0.5
    size = torch.exp((draw[1] - 0.5) * 0.3)
    mirror = torch.where(draw[2] < 0.5, -1.0, 1.0)  # noqa: PLR2004 - a fair coin
    shift = (draw[3:5] - 0.5) * 0.15
    cosine, sine = torch.cos(angle) * size, torch.sin(angle) * size
    matrix = torch.stack(
        [
            torch.stack([cosine * mirror, -sine, shift[0]], dim=1),
            torch.stack([sine * mirror, cosine, shift[1]], dim=1),
        ],
        dim=1,
    )
    grid = functional.affine_grid(matrix, list(x.shape), align_corners=False)
    moved = functional.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return moved * (0.8 + 0.4 * draw[5])[:, None, None, None]


def validate(task: Task, model: Classifier) -> tuple[float, float]:
    """Return the AUC on the validation images, and their mean negative log-likelihood."""
    rows, places = task.material.of(VAL)
    model.eval()
    with torch.inference_mode():
        parts = [
            hybrid.margin(model(task.material.inputs.batch(part).to(task.device))).double().cpu().numpy()
            for part in hybrid.chunks(places)
        ]
    z, labels = np.concatenate(parts), np.array([row.label for row in rows], dtype=np.bool_)
    return metrics.auc(labels, z), float(np.mean(np.logaddexp(0.0, z) - labels * z))


def _keep(task: Task, model: nn.Module, optimizer: torch.optim.Optimizer, state: _State) -> None:
    path = task.folder / LAST
    aside = path.with_name(f"{LAST}.new")
    facts = {"history": [asdict(one) for one in state.history], "auc": state.best_auc, "loss": state.best_loss}
    facts["epoch"] = state.best_epoch
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "facts": facts}, aside)
    aside.replace(path)


def _resume(task: Task, model: nn.Module, optimizer: torch.optim.Optimizer) -> _State:
    path = task.folder / LAST
    if not path.exists():
        return _State()
    found = torch.load(path, weights_only=True, map_location=task.device)
    model.load_state_dict(found["model"])
    optimizer.load_state_dict(found["optimizer"])
    facts = found["facts"]
    say(f"going on after epoch {len(facts['history'])}")
    return _State([Epoch(**one) for one in facts["history"]], facts["auc"], facts["loss"], facts["epoch"])


def _on_cpu(state: dict[str, Any]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in state.items()}
