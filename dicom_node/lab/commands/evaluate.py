"""`dicom-node lab evaluate`: how good a probe on these embeddings is, by the honest or by the published protocol."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from dicom_node.lab.embeddings import Embeddings
    from dicom_node.lab.evaluation_folds import Folding
    from dicom_node.lab.runs import RunFolder

SUMMARY: Final = "measure a probe on embeddings: cross-validation, intervals, regions, shortcuts, data efficiency"
_DETAILS: Final = """\
goes in:   a folder of embeddings made by `dicom-node lab embed`
comes out: in --out: report.html (opens without a network), metrics.json, scores.csv (out-of-fold scores), pictures/
           (ROC, precision and recall, reliability, data efficiency, confusion), config.json, log.txt

--protocol honest (the default): folds and intervals by group, every region that an image shows, with and without
           hardware, beside a baseline that sees no anatomy at all
--protocol published: folds by image, intervals by image, for comparing with published figures; it flatters, since
           views of one patient are on both sides

after Ctrl-C the same command goes on: what was scored is not scored again

example:   dicom-node lab evaluate runs/embeddings --out runs/evaluation
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.epilog = _DETAILS
    parser.add_argument("embeddings", type=Path, help="folder made by `dicom-node lab embed`")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run: new, or one to be resumed")
    parser.add_argument("--protocol", choices=("honest", "published"), default="honest", help="default: honest")
    parser.add_argument("--folds", type=int, default=5, help="default 5")
    parser.add_argument("--bootstraps", type=int, default=1000, help="draws of each interval (default 1000)")
    parser.add_argument("--strength", type=float, default=1.0, help="C, the inverse of the penalty (default 1)")
    parser.add_argument("--class-weight", choices=("balanced", "none"), default="balanced", help="default: balanced")
    parser.add_argument("--no-data-efficiency", action="store_true", help="leave the data-efficiency curve out")
    parser.add_argument("--seed", type=int, default=1, help="seed of folds, draws and intervals (default 1)")


def run(args: argparse.Namespace) -> int:
    """Evaluate and write the report."""
    from dicom_node.lab import embeddings, evaluation_folds, evaluation_run  # noqa: PLC0415 - `--help` stays quick
    from dicom_node.lab.evaluation_measures import Bootstrap  # noqa: PLC0415
    from dicom_node.lab.progress import say  # noqa: PLC0415
    from dicom_node.lab.runs import RunFolder  # noqa: PLC0415

    found = embeddings.load(args.embeddings)
    folding = evaluation_folds.make_folds(found, args.protocol, args.folds, args.seed)
    folder = RunFolder.open(args.out, _config(args, found))
    z = _scores(folder, found, folding, args)
    metrics = evaluation_run.measure(found, folding, z, Bootstrap(args.bootstraps, args.seed))
    metrics["data_efficiency"] = [] if args.no_data_efficiency else _efficiency(folder, found, folding, args)
    folder.save_metrics(metrics)
    pictures = evaluation_run.draw(folder, found, folding, z, metrics)
    title = f"Probe on {metrics['embedder']}, {args.protocol} protocol"
    report = folder.write_report(title, evaluation_run.sections(metrics, pictures))
    folder.mark("evaluate")
    folder.log(f"AUC {evaluation_run.text_of(metrics['auc'])}")
    say(f"AUC {evaluation_run.text_of(metrics['auc'])}; report: {report}")
    return 0


def _config(args: argparse.Namespace, found: Embeddings) -> dict[str, object]:
    names = ("protocol", "folds", "bootstraps", "strength", "class_weight", "no_data_efficiency", "seed")
    return {"command": "evaluate", "embeddings": found.source, **{name: getattr(args, name) for name in names}}


def _scores(folder: RunFolder, found: Embeddings, folding: Folding, args: argparse.Namespace) -> Any:
    import numpy as np  # noqa: PLC0415 - as above

    from dicom_node.lab import evaluation_folds, evaluation_scores  # noqa: PLC0415
    from dicom_node.lab.probe import Settings  # noqa: PLC0415

    if not folder.done("scores"):
        settings = Settings(args.strength, args.class_weight == "balanced")
        held_out = evaluation_folds.out_of_fold(found, folding, settings)
        if not held_out.converged:
            folder.log("warning: a fit did not converge; a smaller --strength would")
        evaluation_scores.write(folder.path, found, folding, held_out.z)
        folder.log(f"scored {int(found.scored.sum())} images out of fold")
        folder.mark("scores")
    z = np.full(len(found.labels), np.nan)
    z[found.scored] = evaluation_scores.read(folder.path).z
    return z


def _efficiency(folder: RunFolder, found: Embeddings, folding: Folding, args: argparse.Namespace) -> list[Any]:
    import numpy as np  # noqa: PLC0415 - as above

    from dicom_node.lab import evaluation_folds, evaluation_scores  # noqa: PLC0415
    from dicom_node.lab.probe import Settings  # noqa: PLC0415
    from dicom_node.lab.runs import jsonable, read_json, write_json  # noqa: PLC0415

    path = folder.path / "data_efficiency.json"
    if not folder.done("data-efficiency"):
        z = np.full(len(found.labels), np.nan)
        z[found.scored] = evaluation_scores.read(folder.path).z
        settings = Settings(args.strength, args.class_weight == "balanced")
        curve = evaluation_folds.data_efficiency(found, folding, settings, z)
        write_json(path, {"curve": jsonable(curve)})
        folder.mark("data-efficiency")
    return list(read_json(path)["curve"])
