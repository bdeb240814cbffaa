"""`dicom-node lab train-default`: train the default model and write its bundle."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from dicom_node.lab.experiment import Plan
    from dicom_node.lab.train import Recipe

SUMMARY: Final = "train the default model, measure it by group, and write its bundle"
INTERRUPTED: Final = 130
_DETAILS: Final = """\
goes in:   --data, a folder of the FracAtlas layout: dataset.csv, fractures.json and images/
comes out: --out, a complete model bundle with its card; in --runs, a run folder: report.html with the curves, the
           outcomes and the best and worst cases, metrics.json, pictures/, log.txt, and the models of the folds
after Ctrl-C the same command goes on with the models that are not finished

example:   dicom-node lab train-default --data fracatlas --out engines/extremity-fracatlas --minutes 120
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.epilog = _DETAILS
    parser.add_argument("--data", type=Path, required=True, help="folder with dataset.csv, fractures.json and images/")
    parser.add_argument("--out", type=Path, required=True, help="the bundle's folder; replaced as a whole at the end")
    parser.add_argument(
        "--minutes", type=float, default=30.0, help="wall time of training, all folds and the final model together"
    )
    parser.add_argument("--steps", type=int, default=0, help="steps of each model, in place of --minutes; repeatable")
    parser.add_argument(
        "--network",
        choices=("lite0", "compact"),
        default="lite0",
        help="EfficientNet-Lite0 (default), or the small one",
    )
    parser.add_argument(
        "--start",
        choices=("imagenet", "scratch"),
        default="imagenet",
        help="first weights: ImageNet's, from a package of the extra lab (default), or none",
    )
    parser.add_argument("--folds", type=int, default=3, help="grouped folds for the held-out figures (default 3)")
    parser.add_argument("--jobs", type=int, default=2, help="models trained side by side (default 2)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of each (default 1)")
    parser.add_argument("--seed", type=int, default=1, help="seed of splits, weights and sampling (default 1)")
    parser.add_argument("--bfloat16", action="store_true", help="train in bfloat16, faster where the CPU has it")
    parser.add_argument("--runs", type=Path, default=Path("runs/lab"), help="working files, never committed")


def run(args: argparse.Namespace) -> int:
    """Train every fold and the final model, measure, and write the bundle."""
    import cv2  # noqa: PLC0415 - loaded only where something is trained: `--help` stays quick
    import torch  # noqa: PLC0415

    from dicom_node.lab import bundle_writer, default_report, evaluate, experiment  # noqa: PLC0415
    from dicom_node.lab.progress import say  # noqa: PLC0415
    from dicom_node.lab.runs import RunFolder  # noqa: PLC0415

    torch.set_num_threads(args.threads * args.jobs)
    cv2.setNumThreads(1)
    plan = plan_of(args)
    folder = RunFolder.open(plan.run_folder, _config(args, plan))
    material = experiment.gather(plan)
    try:
        experiment.train_all(plan, material)
    except KeyboardInterrupt:
        folder.log("interrupted")
        say(f"interrupted; the same command goes on with the models that are not finished, in {plan.run_folder}")
        return INTERRUPTED
    measured = evaluate.evaluate(material, experiment.hold_out(plan, material), args.seed)
    evaluation = measured[0]
    default_report.write(folder, args.data, material, measured)
    say(f"held out: AUC {evaluation.auc:.3f}, shortcuts alone {evaluation.shortcut_auc:.3f}")
    model = experiment.final_model(plan, material)
    steps, minutes = experiment.spent(plan, material)
    made = bundle_writer.Run(command_line(args), args.seed, args.folds, plan.recipe, steps, minutes)
    contents = bundle_writer.Contents(args.out.resolve().name, args.data, material, model, evaluation, made)
    parity = bundle_writer.write(contents, args.out)
    folder.log(f"finished: {args.out.resolve().name}")
    say(f"bundle: {args.out}, {parity.images} images of parity")
    say(f"{folder.path / 'report.html'}")
    return 0


def _config(args: argparse.Namespace, plan: Plan) -> dict[str, object]:
    from dataclasses import asdict  # noqa: PLC0415 - as above

    what = {"command": "train-default", "data": args.data.resolve().name, "folds": args.folds, "seed": args.seed}
    return {**what, "recipe": asdict(plan.recipe)}


def plan_of(args: argparse.Namespace) -> Plan:
    """Return the plan that the arguments describe."""
    from dicom_node.lab.experiment import Plan  # noqa: PLC0415 - as above

    name = f"{args.network}-{args.start}-seed{args.seed}-{_budget(args, '-')}-folds-{args.folds}"
    return Plan(args.data, args.runs / name, args.folds, args.seed, _recipe(args), args.jobs, args.threads)


def _recipe(args: argparse.Namespace) -> Recipe:
    from dicom_node.lab.train import Recipe  # noqa: PLC0415 - as above

    rounds = math.ceil((args.folds + 1) / args.jobs)
    return Recipe(
        seconds=args.minutes * 60.0 / rounds,
        steps=args.steps,
        network=args.network,
        start=args.start,
        bfloat16=args.bfloat16,
    )


def _budget(args: argparse.Namespace, between: str) -> str:
    return f"steps{between}{args.steps}" if args.steps else f"minutes{between}{args.minutes:g}"


def command_line(args: argparse.Namespace) -> str:
    """Return the command that was given, with every option that matters; the data's folder by its name only."""
    precision = " --bfloat16" if args.bfloat16 else ""
    return (
        f"dicom-node lab train-default --data {args.data.resolve().name} --out engines/{args.out.resolve().name} "
        f"--network {args.network} --start {args.start} --{_budget(args, ' ')} --folds {args.folds} --jobs {args.jobs} "
        f"--threads {args.threads} --seed {args.seed}{precision}"
    )
