"""`dicom-node lab compare`: several runs side by side."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

SUMMARY: Final = "put the metrics of several runs side by side, with paired differences of AUC"
_DETAILS: Final = """\
goes in:   two or more run folders (of evaluate or head)
comes out: a table on the terminal; for each pair that scored the same images, the difference of AUC (second minus
           first) with its 95 % interval, whole groups drawn again, both scores of an image together; with --out also
           metrics.json and report.html

example:   dicom-node lab compare runs/first runs/second --out runs/comparison
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.epilog = _DETAILS
    parser.add_argument("run_folders", type=Path, nargs="+", metavar="RUN", help="folder of a finished run")
    parser.add_argument("--out", type=Path, help="folder for the report (default: terminal only)")
    parser.add_argument("--bootstraps", type=int, default=1000, help="draws of each interval (default 1000)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the intervals (default 1)")


def run(args: argparse.Namespace) -> int:
    """Compare, print and, where asked, write the report."""
    from dicom_node.lab import evaluation_compare as compare  # noqa: PLC0415 - `--help` stays quick
    from dicom_node.lab.evaluation_measures import Bootstrap  # noqa: PLC0415
    from dicom_node.lab.evaluation_run import text_of  # noqa: PLC0415
    from dicom_node.lab.progress import say  # noqa: PLC0415
    from dicom_node.lab.report_html import cell_text  # noqa: PLC0415
    from dicom_node.lab.runs import LabError, RunFolder, Section  # noqa: PLC0415

    if len(args.run_folders) < 2:  # noqa: PLR2004 - one run compares with nothing
        message = "give at least two run folders"
        raise LabError(message)
    names = compare.names_of(args.run_folders)
    found = compare.read_metrics(args.run_folders)
    table: list[list[object]] = [
        list(compare.HEADING),
        *[compare.row(name, one) for name, one in zip(names, found, strict=True)],
    ]
    differences = compare.pairs(args.run_folders, names, Bootstrap(args.bootstraps, args.seed))
    rows: list[list[object]] = [["first", "second", "AUC of second - AUC of first"]]
    rows += [[one["first"], one["second"], text_of(one)] for one in differences]
    for lines in (table, rows):
        for line in lines:
            say(" | ".join(cell_text(cell) for cell in line))
    if args.out:
        folder = RunFolder.open(args.out, {"command": "compare", "runs": names, "seed": args.seed, "metrics": found})
        folder.save_metrics({"runs": dict(zip(names, found, strict=True)), "differences": differences})
        parts = [Section("Runs", "95 % intervals in brackets.", table), Section("Paired differences", "", rows)]
        say(f"report: {folder.write_report('Comparison of runs', parts)}")
    return 0
