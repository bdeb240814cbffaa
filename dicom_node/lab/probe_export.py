"""From a head run and the bundle of its embedder to a bundle that serves the probe, tried before it takes its place."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from safetensors.numpy import load_file

from dicom_node.inference.bundle import Bundle, load_bundle
from dicom_node.lab import acceptance, bundle_files, cards, probe_card, probe_file, thresholds
from dicom_node.lab import evaluation_measures as measures
from dicom_node.lab.acceptance import Trial
from dicom_node.lab.cache import read_grey
from dicom_node.lab.runs import LabError, read_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicom_node.lab.acceptance import Acceptance, Heard
    from dicom_node.lab.embeddings import Listing
    from dicom_node.lab.evaluation_scores import ScoreTable
    from dicom_node.lab.probe import LinearProbe

_COPIED: Final = ("embedder.onnx", "NOTICE", "LICENSE")
_LOCALISER: Final = ("localiser_weight", "localiser_bias")


@dataclass(frozen=True, slots=True)
class HeadRun:
    """What a finished `lab head` run holds."""

    config: dict[str, Any]
    metrics: dict[str, Any]
    scores: ScoreTable
    probe: LinearProbe
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Naming:
    """How the new bundle is called, and the command that made it."""

    name: str
    version: str
    command: str


def read_run(folder: Path, base: Bundle) -> HeadRun:
    """Return a head run; raises LabError where it is none, or was fitted on another embedder than this bundle's."""
    from dicom_node.lab import evaluation_scores  # noqa: PLC0415 - only here

    config = read_json(folder / "config.json")
    if config.get("command") != "head" or not (folder / "head.safetensors").exists():
        message = f"{folder}: is not the folder of a finished `dicom-node lab head` run"
        raise LabError(message)
    source = config["embeddings"]
    if source.get("bundle_sha256") != base.sha256:
        message = (
            f"{folder}: its head was fitted on embeddings of {source.get('embedder')} "
            f"({str(source.get('bundle_sha256'))[:12]}), not of {base.folder} ({base.sha256[:12]}); give that bundle"
        )
        raise LabError(message)
    path = folder / "probe.joblib"
    table = base.manifest.head
    held = probe_file.read(path, probe_file.expected_digest(path, None), table.grid[0] * table.grid[1] * table.channels)
    tensors = load_file(str(folder / "head.safetensors"))
    return HeadRun(
        config,
        read_json(folder / "metrics.json"),
        evaluation_scores.read(folder),
        held.probe,
        tensors["weight"],
        tensors["bias"],
    )


def export(run: HeadRun, base: Bundle, listing: Listing, naming: Naming, out: Path) -> Acceptance:
    """Write the bundle beside its place, try it, and move it there only if it answers as the probe does."""
    with bundle_files.made_aside(out) as made:
        return _fill(run, base, listing, naming, made)


def _fill(run: HeadRun, base: Bundle, listing: Listing, naming: Naming, made: Path) -> Acceptance:
    for name in _COPIED:
        if (base.folder / name).exists():
            shutil.copyfile(base.folder / name, made / name)
    tensors = {"weight": run.weight, "bias": run.bias}
    if base.manifest.head.localiser:
        held = load_file(str(base.folder / "head.safetensors"))
        tensors |= {name: held[name] for name in _LOCALISER}
    bundle_files.write_head(made, tensors)
    tables = manifest(run, base, naming)
    bundle_files.write_untried(made, tables)
    bundle = load_bundle(made)
    trials = acceptance.chosen(trials_of(listing))
    accepted = acceptance.accept(bundle, trials, read_grey, lambda _, heard: _asked(heard, run.probe, bundle), "probe")
    if tables["gate"]["map"] == "evidence":
        # What a trusted map looks like was just measured, on this head's own maps.
        tables["gate"] |= accepted.bounds
    tables["metrics"] |= {
        "acceptance_images": accepted.images,
        "acceptance_largest_logit_difference": accepted.largest_logit_difference,
    }
    cards.write(made, tables, probe_card.measured(run.metrics, accepted, base.manifest.name))
    load_bundle(made)
    return accepted


def trials_of(listing: Listing) -> list[Trial]:
    """Return the usable images of a list."""
    return [Trial(listing.folder / one.name, one.fractured) for one in listing.images if one.exclusion is None]


def _asked(heard: Heard, probe: LinearProbe, bundle: Bundle) -> float:
    """Return z as the probe itself says it: pool, standardise, weigh; in float64, unfolded."""
    rows, columns = bundle.manifest.head.grid
    pool = bundle.manifest.embedder.pool
    blocks = heard.features.astype(np.float64).reshape(rows, pool, columns, pool, -1)
    pooled = blocks.mean(axis=(1, 3)).reshape(-1)
    return float(((pooled - probe.mean) / probe.scale) @ probe.coef + probe.intercept)


def manifest(run: HeadRun, base: Bundle, naming: Naming) -> dict[str, Any]:
    """Return the new manifest's tables: the embedder's and its scope kept, head, calibration and gate anew."""
    tables = base.manifest.model_dump(by_alias=True, exclude_none=True, mode="json")
    platt = run.metrics["calibration"][measures.PLATT]
    tables |= {
        "name": naming.name,
        "version": naming.version,
        "title": f"Linear probe on {base.manifest.name}"[:64],
        "demonstration": True,
        "calibration": {"id": "platt-oof-1", "method": "platt", "a": platt["a"], "d": platt["d"]},
        "gate": _gate(run, base),
        "metrics": _figures(run.metrics),
        "training": {
            "data": str(run.config["embeddings"].get("data", "")),
            "embedder_bundle": base.manifest.name,
            "embedder_bundle_sha256": base.sha256,
            "command": naming.command,
            "seed": run.config["seed"],
            "folds": run.config["folds"],
            "strength": run.config["strength"],
            "class_weight": run.config["class_weight"],
        },
    }
    if platt["a"] <= 0.0:
        message = "the probe's scores rank no better than chance (Platt's slope is not above 0): nothing to export"
        raise LabError(message)
    return tables


def _gate(run: HeadRun, base: Bundle) -> dict[str, Any]:
    table = run.scores
    p = measures.cross_fitted(measures.PLATT, table.scores())
    chosen = thresholds.choose(thresholds.Held(p, table.labels, table.groups, table.regions))
    kept = {name: value for name, value in asdict(base.gate).items() if name not in {"policy", "regions"}}
    return {
        "policy": "certified",
        **kept,
        "map": base.gate_map,
        "p_low": chosen.p_low,
        "p_high": chosen.p_high,
        "bound": thresholds.bound_table(chosen.misses),
        "regions": thresholds.region_tables(chosen),
    }


def _figures(found: dict[str, Any]) -> dict[str, Any]:
    platt = found["calibration"][measures.PLATT]
    figures = {
        "images": found["images"],
        "fractured": found["fractured"],
        "groups": found["groups"],
        "auc": found["auc"]["value"],
        "auc_low": found["auc"]["low"],
        "auc_high": found["auc"]["high"],
        "average_precision": found["average_precision"]["value"],
        "auc_without_hardware": found["hardware"]["without"]["auc"]["value"],
        "auc_shortcuts_alone": found["shortcuts_alone"]["auc"]["value"],
        "brier": platt["brier"]["value"],
        "ece": platt["ece"]["value"],
    }
    # TOML has no null: what is not defined is left out.
    return {name: value for name, value in figures.items() if value is not None}
