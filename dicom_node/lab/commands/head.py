"""`dicom-node lab head`: fit the probe that is shipped."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from dicom_node.lab.embeddings import Embeddings
    from dicom_node.lab.runs import RunFolder

SUMMARY: Final = "fit scaler and logistic regression on embeddings; write probe.joblib and head.safetensors"
_DETAILS: Final = """\
goes in:   a folder of embeddings made by `dicom-node lab embed`
comes out: in --out: probe.joblib (dict of model, scaler, temperature, holdout_metrics) with probe.joblib.sha256,
           head.safetensors (the same head as one float32 vector, for serving), scores.csv (out-of-fold scores by
           group), metrics.json, pictures/, report.html

Without --train-split the probe learns from every image, and the figures are those of grouped cross-validation.
With --train-split and --test-split (names in the index's column split) it learns from one and is measured on the
other; a group on both sides is refused.

example:   dicom-node lab head runs/embeddings --out runs/head
           dicom-node lab head runs/embeddings --out runs/head --train-split dev_train --test-split dev_val
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.epilog = _DETAILS
    parser.add_argument("embeddings", type=Path, help="folder made by `dicom-node lab embed`")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run: new, or one to be resumed")
    parser.add_argument("--train-split", default="", help="learn from this split only")
    parser.add_argument("--test-split", default="", help="measure on this split")
    parser.add_argument("--folds", type=int, default=5, help="grouped folds of the out-of-fold scores (default 5)")
    parser.add_argument("--strength", type=float, default=1.0, help="C, the inverse of the penalty (default 1)")
    parser.add_argument("--class-weight", choices=("balanced", "none"), default="balanced", help="default: balanced")
    parser.add_argument("--bootstraps", type=int, default=1000, help="draws of each interval (default 1000)")
    parser.add_argument("--seed", type=int, default=1, help="seed of folds and intervals (default 1)")


def run(args: argparse.Namespace) -> int:
    """Fit, measure and write the probe."""
    from dicom_node.lab import embeddings, evaluation_run, probe_file, probe_fit  # noqa: PLC0415 - `--help` stays quick
    from dicom_node.lab.probe import Settings, fold  # noqa: PLC0415
    from dicom_node.lab.progress import say  # noqa: PLC0415
    from dicom_node.lab.runs import LabError, RunFolder  # noqa: PLC0415

    if bool(args.train_split) != bool(args.test_split):
        message = "give --train-split and --test-split together, or neither"
        raise LabError(message)
    found = embeddings.load(args.embeddings)
    train, test = probe_fit.sides(found, args.train_split, args.test_split)
    folder = RunFolder.open(args.out, _config(args, found))
    order = probe_fit.Order(
        Settings(args.strength, args.class_weight == "balanced"), args.folds, args.seed, args.bootstraps
    )
    made = probe_fit.make(found, train, test, order, folder)
    digest = probe_file.write(folder.path / "probe.joblib", made.fitted, made.temperature, made.summary)
    probe_file.write_head(folder.path / "head.safetensors", fold(made.fitted.linear), found.shape)
    folder.save_metrics(made.metrics)
    _report(folder, found, made)
    folder.mark("head")
    folder.log(f"probe.joblib {digest}")
    say(f"AUC {evaluation_run.text_of(made.metrics['auc'])}; temperature {made.temperature:.3f}")
    say(f"{folder.path / 'probe.joblib'} SHA-256 {digest}")
    return 0


def _config(args: argparse.Namespace, found: Embeddings) -> dict[str, object]:
    names = ("train_split", "test_split", "folds", "strength", "class_weight", "bootstraps", "seed")
    return {"command": "head", "embeddings": found.source, **{name: getattr(args, name) for name in names}}


def _report(folder: RunFolder, found: Embeddings, made: Any) -> None:
    from dicom_node.lab import evaluation_run  # noqa: PLC0415 - as above
    from dicom_node.lab.runs import Section  # noqa: PLC0415

    pictures = evaluation_run.draw(folder, found, made.folding, made.z, made.metrics)
    parts = evaluation_run.sections(made.metrics, pictures)
    if made.metrics.get("test"):
        test = made.metrics["test"]
        rows = [["images", "fractured", "AUC", "average precision"]]
        figures = [evaluation_run.text_of(test[name]) for name in ("auc", "average_precision")]
        rows.append([test["images"], test["fractured"], *figures])
        parts.insert(
            1, Section(f"Test split {made.metrics['test_split']}", "Scored once, by the probe as written.", rows)
        )
    folder.write_report(f"Probe head on {made.metrics['embedder']}", parts)
