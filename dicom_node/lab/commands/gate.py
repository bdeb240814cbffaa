"""`dicom-node lab gate`: three outcomes from a trained classifier's scores and maps, by both policies."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

SUMMARY: Final = "turn a trained classifier's scores and maps into three outcomes, and prove it"
_DETAILS: Final = """\
goes in:   --run, the folder of a finished `lab train` (its scores.csv and maps.npz: the validation images)
comes out: in --out (default: gate/ in the run's folder): grid.csv (every cell of the published 625), metrics.json,
           pictures/ (coverage against accuracy, coloured by inconclusive rate; risk against coverage; outcomes),
           report.html, config.json, log.txt

two policies, side by side, fitted on one half of the validation groups and proved on the other:
  localisation   the published rule: p < p_low is negative; else positive where the Grad-CAM map is focused (entropy in
                 nats and area above alpha * maximum, on the native grid); else inconclusive
  certified      negative below p_low, positive from p_high where the map is plausible, else inconclusive; both
                 thresholds with an exact binomial bound, by group; "cannot certify" where there are too few fractures

example:   dicom-node lab gate --run runs/mura
           dicom-node lab gate --run runs/mura --miss-rate 0.10 --first 0 --out runs/mura-gate
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.epilog = _DETAILS
    add = parser.add_argument
    add("--run", type=Path, required=True, help="folder of a finished `lab train`")
    add("--out", type=Path, help="folder of this gate: new, or the same one again (default: RUN/gate)")
    add("--first", type=int, default=500, help="images of the published grid; 0 for all (default 500, as published)")
    add("--miss-rate", type=float, default=0.05, help="most of the fractures called negative, bounded (default 0.05)")
    add("--alarm-rate", type=float, default=0.10, help="most of the others called positive, bounded (default 0.10)")
    add("--confidence", type=float, default=0.95, help="of both bounds (default 0.95)")
    add(
        "--inconclusive-max",
        type=float,
        default=0.30,
        help="most that the chosen cell of the grid may leave inconclusive (default 0.30)",
    )
    add("--seed", type=int, default=1, help="of the halves (default 1)")


def run(args: argparse.Namespace) -> int:
    """Fit both policies, prove them, and say what came out."""
    from dicom_node.lab import gate_report, hybrid_run  # noqa: PLC0415 - loaded only here: `--help` stays quick
    from dicom_node.lab.gate_policies import Limits  # noqa: PLC0415
    from dicom_node.lab.progress import say  # noqa: PLC0415
    from dicom_node.lab.runs import RunFolder  # noqa: PLC0415

    limits = Limits(args.miss_rate, args.alarm_rate, args.confidence, args.inconclusive_max)
    _, cases = hybrid_run.load_cases(args.run)
    folder = RunFolder.open(args.out or args.run / "gate", _config(args))
    found = gate_report.make(folder, cases, limits, args.first, args.seed)
    for one in found["policies"]:
        figures = one["figures"]
        say(
            f"{one['name']}: coverage {hybrid_run.shown(figures['coverage'])}, "
            f"accuracy {hybrid_run.shown(figures['accuracy'])}, precision {hybrid_run.shown(figures['precision'])}, "
            f"recall {hybrid_run.shown(figures['recall'])}, "
            f"fractures among the abstained {hybrid_run.shown(figures['ppv_abstained'])}"
        )
    for name in found["certified"]["cannot_certify"]:
        say(f"cannot certify: {name}")
    folder.log("finished")
    say(f"default policy: {found['default_policy']}; {folder.path / 'report.html'}")
    return 0


def _config(args: argparse.Namespace) -> dict[str, object]:
    import hashlib  # noqa: PLC0415 - as above

    from dicom_node.lab.hybrid_run import SCORES  # noqa: PLC0415 - as above

    digest = hashlib.sha256((args.run / SCORES).read_bytes()).hexdigest()
    names = ("first", "miss_rate", "alarm_rate", "confidence", "inconclusive_max", "seed")
    return {"command": "gate", "scores_sha256": digest, **{name: getattr(args, name) for name in names}}
