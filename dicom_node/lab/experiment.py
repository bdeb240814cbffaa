"""The whole experiment: an embedder and a head per fold for honest scores, then one of each on everything."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from dicom_node.lab import cache as cache_module
from dicom_node.lab import dataset, features, head
from dicom_node.lab.network import CompactEmbedder
from dicom_node.lab.progress import say
from dicom_node.lab.sampling import Sampler
from dicom_node.lab.train import Recipe, train

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from dicom_node.lab.cache import Cache
    from dicom_node.lab.dataset import Conservation, Image


@dataclass(frozen=True, slots=True)
class Plan:
    """What to train, on what, and where the working files go."""

    data: Path
    run_folder: Path
    folds: int
    seed: int
    recipe: Recipe
    head: head.Regularisation


@dataclass(frozen=True, slots=True)
class Material:
    """The images, their inputs, which are scored and how they are split."""

    images: tuple[Image, ...]
    cache: Cache
    scored: NDArray[np.bool_]
    trainable: NDArray[np.bool_]
    labels: NDArray[np.bool_]
    groups: NDArray[np.str_]
    folds: NDArray[np.int64]
    counts: Conservation


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Scores and maps of every scored image, each from a model that never saw its group. Unscored rows are NaN."""

    z: NDArray[np.float64]
    logits: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Model:
    """One embedder and its head."""

    embedder: CompactEmbedder
    head: head.LinearHead


def gather(plan: Plan) -> Material:
    """Read the data, preprocess it once and split it by group."""
    images = dataset.load(plan.data)
    cache = cache_module.build(images, plan.data, plan.run_folder.parent / "cache")
    scored, counts = dataset.account(images, cache.readable)
    say(f"images: {counts}")
    return Material(
        images=images,
        cache=cache,
        scored=scored,
        trainable=np.array([image.trainable for image in images], dtype=np.bool_) & cache.readable,
        labels=np.array([image.fractured for image in images], dtype=np.bool_),
        groups=np.array([image.group for image in images]),
        folds=dataset.grouped_folds(images, plan.folds, plan.seed),
        counts=counts,
    )


def hold_out(plan: Plan, material: Material) -> HeldOut:
    """Train a model per fold and score the fold that it did not see."""
    n = len(material.images)
    z = np.full(n, np.nan)
    logits = np.zeros((n, cache_module.CELLS, cache_module.CELLS), dtype=np.float32)
    for fold in range(plan.folds):
        learnt = np.flatnonzero(material.trainable & (material.folds != fold))
        asked = np.flatnonzero(material.scored & (material.folds == fold))
        dataset.assert_disjoint(material.groups[learnt].tolist(), material.groups[asked].tolist())
        model = fit(plan, material, learnt, f"fold-{fold + 1}-of-{plan.folds}", plan.seed + 1 + fold)
        found = features.extract(model.embedder, material.cache, asked, mirror=False)
        z[asked] = model.head.logits(found.pooled)
        logits[asked] = found.logits
    return HeldOut(z, logits)


def fit(plan: Plan, material: Material, learnt: NDArray[np.int64], name: str, seed: int) -> Model:
    """Train an embedder on these images, or take it from the run folder where that stage is done; then fit its head."""
    path = plan.run_folder / f"{name}.pt"
    stamp = plan.run_folder / f"{name}.json"
    wanted = json.dumps({"recipe": asdict(plan.recipe), "seed": seed, "images": len(learnt)}, sort_keys=True)
    if path.exists() and stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        say(f"{name}: taken from the run folder")
        embedder = CompactEmbedder()
        embedder.load_state_dict(torch.load(path, weights_only=True))
        embedder.eval()
    else:
        plan.run_folder.mkdir(parents=True, exist_ok=True)
        sampler = Sampler(material.images, material.cache, learnt, seed)
        embedder = train(sampler, plan.recipe, seed, name)
        torch.save(embedder.state_dict(), path)
        stamp.write_text(wanted, encoding="utf-8")
    found = features.extract(embedder, material.cache, learnt, mirror=True)
    both = np.concatenate([found.pooled, found.mirrored])
    labels = material.labels[learnt]
    return Model(embedder, head.fit(both, np.concatenate([labels, labels]), plan.head))


def learnt_by_final(material: Material) -> NDArray[np.int64]:
    """Return the rows that the shipped model learns from: every trainable image."""
    return np.flatnonzero(material.trainable)
