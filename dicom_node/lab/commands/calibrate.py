"""`dicom-node lab calibrate`: temperature and Platt scaling from out-of-fold scores."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

SUMMARY: Final = "fit temperature and Platt scaling on out-of-fold scores, and compare them"
_DETAILS: Final = """\
goes in:   a run of `dicom-node lab head` or `dicom-node lab evaluate` (its scores.csv)
comes out: in --out: metrics.json (for each method a and d of p = sigmoid(a z + d), Brier score, NLL, and ECE over bins
           of equal mass, each with its interval by group), pictures/reliability.png, report.html

The figures are cross-fitted: each image's probability was calibrated on the other folds.

example:   dicom-node lab calibrate runs/head --out runs/calibration
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.epilog = _DETAILS
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="folder of a head or evaluate run")
    parser.add_argument("--out", type=Path, required=True, help="folder of the new run")
    parser.add_argument("--bootstraps", type=int, default=1000, help="draws of each interval (default 1000)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the intervals (default 1)")


def run(args: argparse.Namespace) -> int:
    """Calibrate and say how well."""
    from dicom_node.lab import evaluation_measures, evaluation_run, evaluation_scores, figures  # noqa: PLC0415 - quick help
    from dicom_node.lab.progress import say  # noqa: PLC0415
    from dicom_node.lab.runs import LabError, RunFolder, Section  # noqa: PLC0415

    table = evaluation_scores.read(args.run_folder)
    scores = table.scores()
    reason = evaluation_measures.undefined(scores.labels)
    if reason:
        message = f"{args.run_folder}: {reason}: nothing can be calibrated; score images of both classes"
        raise LabError(message)
    config = {"command": "calibrate", "scores": table.digest, "bootstraps": args.bootstraps, "seed": args.seed}
    folder = RunFolder.open(args.out, config)
    found = evaluation_measures.calibration_figures(scores, evaluation_measures.Bootstrap(args.bootstraps, args.seed))
    folder.save_metrics({"images": len(scores.z), "fractured": int(scores.labels.sum()), "calibration": found})
    picture = figures.reliability(folder.picture("reliability"), evaluation_run.reliability_bins(scores))
    rows = evaluation_run.calibration_table(found)
    words = evaluation_run.calibration_words(found)
    folder.write_report("Calibration", [Section("Probabilities", words, rows, [picture])])
    folder.mark("calibrate")
    for row in rows:
        say("  ".join(f"{cell:.4f}" if isinstance(cell, float) else str(cell) for cell in row))
    return 0
