"""The whole experiment: an embedder and a head per fold for honest scores, then one of each on everything."""

from __future__ import annotations

import json
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np
import torch

from dicom_node.lab import cache as cache_module
from dicom_node.lab import dataset, features, head
from dicom_node.lab.progress import say
from dicom_node.lab.sampling import Sampler
from dicom_node.lab.train import NETWORKS, Objective, train

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from dicom_node.lab.cache import Cache
    from dicom_node.lab.dataset import Conservation, Image
    from dicom_node.lab.train import Embedder, Recipe

FINAL: Final = "final"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to train, on what, and where the working files go."""

    data: Path
    run_folder: Path
    folds: int
    seed: int
    recipe: Recipe
    jobs: int = 1
    threads: int = 2


@dataclass(frozen=True, slots=True)
class Stage:
    """One embedder to train: the rows it learns from, and the rows it is asked about."""

    name: str
    seed: int
    learnt: NDArray[np.int64]
    asked: NDArray[np.int64]


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

    embedder: Embedder
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


def stages(plan: Plan, material: Material) -> tuple[Stage, ...]:
    """Return what is to be trained: one stage a fold, and the final one, which is asked nothing."""
    result = []
    for fold in range(plan.folds):
        learnt = np.flatnonzero(material.trainable & (material.folds != fold))
        asked = np.flatnonzero(material.scored & (material.folds == fold))
        dataset.assert_disjoint(material.groups[learnt].tolist(), material.groups[asked].tolist())
        result.append(Stage(f"fold-{fold + 1}-of-{plan.folds}", plan.seed + 1 + fold, learnt, asked))
    everything = np.flatnonzero(material.trainable)
    return (*result, Stage(FINAL, plan.seed, everything, np.zeros(0, dtype=np.int64)))


def train_all(plan: Plan, material: Material) -> None:
    """Train every stage that the run folder does not hold yet, `jobs` of them at a time, each in its own process."""
    waiting = [stage for stage in stages(plan, material) if not _is_done(plan, stage)]
    plan.run_folder.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=plan.jobs, mp_context=context) as pool:
        for done in [pool.submit(_run_stage, plan, stage) for stage in waiting]:
            done.result()


def _run_stage(plan: Plan, stage: Stage) -> None:
    """Train one stage and keep its weights and its features; runs in a process of its own."""
    torch.set_num_threads(plan.threads)
    cv2.setNumThreads(1)
    images = dataset.load(plan.data)
    cache = cache_module.build(images, plan.data, plan.run_folder.parent / "cache")
    start = time.monotonic()
    objective, steps = train(Sampler(images, cache, stage.learnt, stage.seed), plan.recipe, stage.seed, stage.name)
    minutes = (time.monotonic() - start) / 60.0
    torch.save(objective.state_dict(), plan.run_folder / f"{stage.name}.pt")
    found = features.extract(objective.embedder, cache, stage.asked)
    z = head.of(objective.image_head).logits(found.pooled)
    np.savez(plan.run_folder / f"{stage.name}-asked.npz", z=z, logits=found.logits)
    done = {"stamp": _stamp(plan, stage), "steps": steps, "minutes": minutes}
    (plan.run_folder / f"{stage.name}.json").write_text(json.dumps(done), encoding="utf-8")


def _stamp(plan: Plan, stage: Stage) -> str:
    facts = {"recipe": asdict(plan.recipe), "seed": stage.seed, "images": len(stage.learnt)}
    return json.dumps(facts, sort_keys=True)


def _is_done(plan: Plan, stage: Stage) -> bool:
    path = plan.run_folder / f"{stage.name}.json"
    return path.exists() and json.loads(path.read_text(encoding="utf-8"))["stamp"] == _stamp(plan, stage)


def spent(plan: Plan, material: Material) -> tuple[tuple[int, ...], float]:
    """Return the steps that each stage took, and the minutes of all of them together."""
    paths = [plan.run_folder / f"{stage.name}.json" for stage in stages(plan, material)]
    facts = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    return tuple(int(one["steps"]) for one in facts), float(sum(one["minutes"] for one in facts))


def hold_out(plan: Plan, material: Material) -> HeldOut:
    """Return each scored image's score and map by the model that did not see its group."""
    n = len(material.images)
    z = np.full(n, np.nan)
    logits = np.zeros((n, cache_module.CELLS, cache_module.CELLS), dtype=np.float32)
    for stage in stages(plan, material)[:-1]:
        with np.load(plan.run_folder / f"{stage.name}-asked.npz") as found:
            z[stage.asked] = found["z"]
            logits[stage.asked] = found["logits"]
    return HeldOut(z, logits)


def final_model(plan: Plan, material: Material) -> Model:
    """Return the model that is shipped: it learnt from every trainable image."""
    stage = stages(plan, material)[-1]
    objective = Objective(NETWORKS[plan.recipe.network]())
    objective.load_state_dict(torch.load(plan.run_folder / f"{stage.name}.pt", weights_only=True))
    return Model(objective.embedder.eval(), head.of(objective.image_head))
