"""From a trained classifier and its gate to a bundle that serves it, tried before it takes its place."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from PIL import Image as Picture
from torch import Tensor, nn

from dicom_node.inference.bundle import load_bundle
from dicom_node.lab import acceptance, bundle_files, cards, export, hybrid, hybrid_card, hybrid_run, layouts
from dicom_node.lab.acceptance import Trial
from dicom_node.lab.runs import LabError, read_json
from dicom_node.lab.thresholds import IN_SCOPE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dicom_node.lab.acceptance import Acceptance, Heard
    from dicom_node.lab.gate_policies import Cases
    from dicom_node.lab.gate_serving import Served
    from dicom_node.lab.hybrid import Classifier, Shape
    from dicom_node.lab.probe_export import Naming

_LARGEST: Final = 64 * export.MIB
# The inputs of local contrast are kept in 16 bit while training, so recorded scores lie a little off.
_RECORDED: Final = 0.05
_TITLES: Final = {"hybrid": "hybrid triage", "folder-cnn": "folder-data CNN"}
_RECIPE: Final = ("optimizer", "rate", "decay", "batch", "weighting", "augment", "seed")
_NETWORKS: Final = {"resnet18": "ResNet-18", "compact": "Compact network"}


@dataclass(frozen=True, slots=True)
class TrainedRun:
    """A finished `lab train`: its network, what it was fed, and what its validation says."""

    config: dict[str, Any]
    metrics: dict[str, Any]
    model: Classifier
    shape: Shape
    images: tuple[Path, ...]
    cases: Cases
    scores_sha256: str


@dataclass(frozen=True, slots=True)
class Scope:
    """The images the bundle may score: DICOM body parts and the youngest age in years; notice: the terms, in words.

    age_required: an image that states neither age nor birth date is not scored.
    """

    body_parts: tuple[str, ...]
    min_age: float
    notice: str
    age_required: bool = False


def read_run(folder: Path) -> TrainedRun:
    """Return a finished run; raises LabError where it is none."""
    config = read_json(folder / "config.json")
    if config.get("command") != "train":
        message = f"{folder}: is not the folder of a finished `dicom-node lab train` run"
        raise LabError(message)
    model, shape = hybrid.load(folder)
    images, cases = hybrid_run.load_cases(folder)
    digest = hashlib.sha256((folder / hybrid_run.SCORES).read_bytes()).hexdigest()
    metrics = read_json(folder / "metrics.json")
    return TrainedRun(config, metrics, model, shape, tuple(Path(one) for one in images), cases, digest)


def body_parts(run: TrainedRun, given: Sequence[str]) -> tuple[str, ...]:
    """Return the body parts of the bundle's scope: those given, else the regions that the validation names.

    Raises LabError where neither gives one, or where a name is no Body Part Examined that the default bundle knows.
    """
    named = {part for text in run.cases.regions.tolist() for part in text.split("+") if part}
    parts = tuple(one.strip().upper() for one in given) or tuple(sorted(one.upper() for one in named))
    unknown = [one for one in parts if one not in IN_SCOPE]
    if not parts or unknown:
        what = f"{unknown[0]!r} is not one of them" if unknown else "the run's images name no region"
        message = f"--body-parts: give DICOM body parts, of {', '.join(IN_SCOPE)}: {what}"
        raise LabError(message)
    return parts


def own_trials(run: TrainedRun) -> list[Trial]:
    """Return the run's own validation images; raises LabError where one is no longer there."""
    missing = [path for path in run.images if not path.exists()]
    if missing:
        message = f"{missing[0]}: a validation image is no longer there; give --data to try the bundle on other images"
        raise LabError(message)
    return [Trial(path, bool(label)) for path, label in zip(run.images, run.cases.labels, strict=True)]


def write(
    run: TrainedRun, served: Served, scope: Scope, trials: Sequence[Trial], naming: Naming, out: Path
) -> Acceptance:
    """Write the bundle beside its place, try it, and move it there only if it answers as the network does."""
    with bundle_files.made_aside(out) as made:
        export.write_network(FeaturesLast(run.model), run.shape.side, made / "embedder.onnx", _LARGEST)
        head = hybrid.margin_head(run.model, *_grid(run)[:2])
        bundle_files.write_head(made, {"weight": head.weight, "bias": np.array([head.bias], dtype=np.float32)})
        (made / "NOTICE").write_text(scope.notice, encoding="utf-8")
        tables = manifest(run, served, scope, naming)
        bundle_files.write_untried(made, tables)
        asked = _Asked(run)
        accepted = acceptance.accept(load_bundle(made), acceptance.chosen(trials), read_grey, asked, "network")
        tables["metrics"] |= {
            "acceptance_images": accepted.images,
            "acceptance_largest_logit_difference": accepted.largest_logit_difference,
        }
        cards.write(made, tables, hybrid_card.measured(run.metrics, served, accepted))
        load_bundle(made)
        return accepted


class FeaturesLast(nn.Module):  # type: ignore[misc] # torch is read as Any
    """A classifier cut at its feature map, as a bundle carries it: output [B, rows, columns, channels]."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, image: Tensor) -> Tensor:
        """Return the features, channels last."""
        return self.classifier.features(image).permute(0, 2, 3, 1).contiguous()


class _Asked:
    """The trained network itself, asked about the tensor that the node's pipeline made."""

    def __init__(self, run: TrainedRun) -> None:
        self._model = run.model.eval()
        self._recorded = dict(zip(run.images, run.cases.z.tolist(), strict=True))

    def __call__(self, trial: Trial, heard: Heard) -> float:
        with torch.inference_mode():
            z = float(hybrid.margin(self._model(torch.from_numpy(heard.tensor)).double())[0])
        gap = abs(z - self._recorded.get(trial.path, z))
        if not gap <= _RECORDED:
            message = (
                f"{trial.path.name}: {hybrid.WEIGHTS} gives a logit {gap:.2g} away from the one in "
                f"{hybrid_run.SCORES}: the files are not of one training; run `lab train` again"
            )
            raise LabError(message)
        return z


def read_grey(path: Path) -> NDArray[np.uint16] | None:
    """Return a picture as training read it, uint16 over the full range, or None where it cannot be decoded."""
    try:
        eight = layouts.decode(path.read_bytes())
    except (OSError, ValueError, SyntaxError, Picture.DecompressionBombError):
        return None
    sixteen: NDArray[np.uint16] = np.asarray(eight, dtype=np.uint16) * np.uint16(257)
    return sixteen


def _grid(run: TrainedRun) -> tuple[int, int, int]:
    """Return rows, columns and channels of the feature map."""
    with torch.inference_mode():
        features = run.model.features(torch.zeros((1, 1, run.shape.side, run.shape.side)))
    channels, rows, columns = features.shape[1:]
    return int(rows), int(columns), int(channels)


def manifest(run: TrainedRun, served: Served, scope: Scope, naming: Naming) -> dict[str, Any]:
    """Return the manifest's tables."""
    rows, columns, channels = _grid(run)
    side = run.shape.side
    system = _TITLES[run.config["system"]]
    return {
        "schema": 1,
        "name": naming.name,
        "version": naming.version,
        "manufacturer": "dicom-node project",
        "title": f"{_NETWORKS[run.shape.network]}, {system}"[:64],
        "demonstration": True,
        "preprocessing": {"id": run.shape.preprocessing_id},
        "embedder": {
            "input_name": export.INPUT,
            "input_shape": [1, 1, side, side],
            "output_name": export.OUTPUT,
            "output_shape": [1, rows, columns, channels],
            "pool": 1,
        },
        "head": {"grid": [rows, columns], "channels": channels, "localiser": False},
        "calibration": {"id": "platt-validation-half-1", "method": "platt", "a": served.platt.a, "d": served.platt.d},
        "gate": _gate(served),
        "intended_use": {
            "modalities": ["CR", "DX"],
            "body_parts": list(scope.body_parts),
            "body_part_required": False,
            "min_age_years": scope.min_age,
            "age_required": scope.age_required,
            "statement": (
                f"Plain radiographs of: {', '.join(scope.body_parts).lower()}. From {scope.min_age:g} years. "
                "Demonstration and research only: not a medical device, not for diagnosis or treatment."
            ),
        },
        "metrics": _figures(run, served),
        "training": _training(run, naming),
    }


def _gate(served: Served) -> dict[str, Any]:
    table = asdict(served.gate) | {"policy": served.gate.policy.value, "map": "evidence", "regions": served.regions}
    return table if served.bound is None else {**table, "bound": served.bound}


def _figures(run: TrainedRun, served: Served) -> dict[str, Any]:
    found, did = run.metrics["validation"], served.figures
    figures = {
        "images": len(run.cases.labels),
        "fractured": int(run.cases.labels.sum()),
        "groups": len(set(run.cases.groups.tolist())),
        "auc": found["roc_auc"],
        "auc_low": found["roc_auc_95_by_group"]["low"],
        "auc_high": found["roc_auc_95_by_group"]["high"],
        "average_precision": found["average_precision"],
        "proved_on": did.cases,
        "coverage": did.coverage,
        "precision": did.precision,
        "found": did.found,
        "missed": did.missed,
        "decided_otherwise_than_published": served.otherwise,
    }
    # TOML has no null: what is not defined is left out.
    return {name: value for name, value in figures.items() if value is not None}


def _training(run: TrainedRun, naming: Naming) -> dict[str, Any]:
    facts = {
        "data": Path(run.config["data"]).name,
        "command": naming.command,
        "system": run.config["system"],
        **{name: run.config["recipe"][name] for name in _RECIPE},
        "epochs": run.metrics["epochs"],
        "best_epoch": run.metrics["best_epoch"],
        "start_weights_sha256": run.config["weights_sha256"],
        "scores_sha256": run.scores_sha256,
    }
    return {name: value for name, value in facts.items() if value is not None}


def notice(run: TrainedRun, given: str) -> str:
    """Return the bundle's NOTICE: the terms given, and what the run itself knows."""
    start = run.config["weights_sha256"]
    origin = "from scratch" if start is None else f"starting from published weights (SHA-256 {start})"
    terms = given.strip() or (
        "The terms of that data set, and of the weights it started from, apply to these weights. They were not stated "
        "when this bundle was made (`lab export --notice`): look them up before you pass the bundle on."
    )
    return (
        f"The weights in this folder were trained {origin} on the data set {Path(run.config['data']).name}. No image "
        f"of it is included.\n\n{terms}\n\nResearch software for demonstration. Not a medical device.\n"
    )
