"""`dicom-node lab export`: a finished run becomes a bundle that serves."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from dicom_node.lab.acceptance import Acceptance
    from dicom_node.lab.probe_export import Naming

SUMMARY: Final = "write the bundle that serves a run, and try it through the node's own pipeline"
_ADULT: Final = 18.0
_DETAILS: Final = """\
goes in:   a run of `dicom-node lab head` with --bundle, the bundle whose embedder the embeddings came from, and --data,
           images to try the result on (FracAtlas layout or CSV file image,label,group); or
           a run of `dicom-node lab train` (either system) with the folder of its `dicom-node lab gate`
comes out: --out, a complete bundle: manifest.toml (Platt scaling, thresholds with their bound), embedder.onnx,
           head.safetensors, NOTICE, MODEL_CARD.md, SHA256SUMS

The bundle is loaded and scores up to 64 images as the node would; every logit must be the run's own to 1e-3 and every
map must add up to it, or nothing is written.

of a head run: a localiser of the embedder's bundle is kept, with its bounds; without one the bounds on a map are those
           of the fractured images tried
of a train run: --policy certified or localisation (default: what the gate run found better). The published rule of
           localisation looks at all cells of a map, the node at those on the body and never at a peak on the border:
           what it decides otherwise is counted on the validation images, and refused beyond --differing

example:   dicom-node lab export runs/head --bundle engines/compact-fracatlas --data fracatlas --out engines/probe
           dicom-node lab export runs/mura --policy certified --notice mura-terms.txt --out engines/mura-triage
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.epilog = _DETAILS
    add = parser.add_argument
    add("run_folder", type=Path, metavar="RUN", help="folder of a finished head or train run")
    add("--bundle", type=Path, help="of a head run: the embedder's bundle")
    add("--data", type=Path, help="images to try the bundle on (of a train run, default: its validation images)")
    add("--out", type=Path, required=True, help="new folder; its name becomes the bundle's")
    add("--version", default="0.1.0", help="the bundle's version (default 0.1.0)")
    add("--gate", type=Path, help="of a train run: folder of its gate (default: gate/ in the run's folder)")
    add("--policy", choices=("certified", "localisation"), help="of a train run (default: the gate run's)")
    add(
        "--differing",
        type=float,
        default=0.0,
        help="share of validation images that may be decided otherwise than by the published rule (default 0)",
    )
    add("--body-parts", default="", help="of a train run: DICOM body parts, comma between (default: its regions)")
    add("--min-age", type=float, default=_ADULT, help="of a train run: youngest age in years (default 18)")
    add("--age-required", action="store_true", help="of a train run: score no image without age and birth date")
    add("--notice", type=Path, help="of a train run: text file with the terms of its data and weights")


def run(args: argparse.Namespace) -> int:
    """Export and say what was tried."""
    import re  # noqa: PLC0415 - `--help` stays quick

    from dicom_node.inference.bundle_digest import bundle_digest  # noqa: PLC0415
    from dicom_node.lab.probe_export import Naming  # noqa: PLC0415
    from dicom_node.lab.progress import say  # noqa: PLC0415
    from dicom_node.lab.runs import LabError, read_json  # noqa: PLC0415

    name = args.out.resolve().name
    if not re.fullmatch(r"[a-z0-9-]{1,64}", name):
        message = f"--out {name}: a bundle's name is made of a-z, 0-9 and -; rename the folder"
        raise LabError(message)
    naming = Naming(name, args.version, _command(args, name))
    if read_json(args.run_folder / "config.json").get("command") == "train":
        accepted, whose = _trained(args, naming), "network"
    else:
        accepted, whose = _probe(args, naming), "probe"
    say(f"accepted: {accepted.images} images, logits within {accepted.largest_logit_difference:.2g} of the {whose}'s")
    say(f"bundle: {args.out}, SHA-256 {bundle_digest(args.out)}")
    return 0


def _command(args: argparse.Namespace, name: str) -> str:
    """Return the command as another machine could repeat it: folders by their names."""
    words = [f"dicom-node lab export {args.run_folder.resolve().name}"]
    if args.bundle:
        words.append(f"--bundle engines/{args.bundle.resolve().name}")
    words += [f"--{key} {path.resolve().name}" for key in ("data", "gate", "notice") if (path := getattr(args, key))]
    if args.policy:
        words.append(f"--policy {args.policy}")
    if args.body_parts:
        words.append(f"--body-parts {args.body_parts}")
    if args.min_age != _ADULT:
        words.append(f"--min-age {args.min_age:g}")
    if args.age_required:
        words.append("--age-required")
    if args.differing:
        words.append(f"--differing {args.differing:g}")
    return " ".join([*words, f"--out engines/{name} --version {args.version}"])


def _probe(args: argparse.Namespace, naming: Naming) -> Acceptance:
    from dicom_node.inference.bundle import load_bundle  # noqa: PLC0415 - as above
    from dicom_node.lab import embeddings, probe_export  # noqa: PLC0415 - as above
    from dicom_node.lab.runs import LabError  # noqa: PLC0415 - as above

    if args.bundle is None or args.data is None:
        message = "a head run is exported with --bundle (its embedder's) and --data (images to try the result on)"
        raise LabError(message)
    base = load_bundle(args.bundle)
    made = probe_export.read_run(args.run_folder, base)
    return probe_export.export(made, base, embeddings.read_listing(args.data), naming, args.out)


def _trained(args: argparse.Namespace, naming: Naming) -> Acceptance:
    from dicom_node.lab import embeddings, gate_serving, hybrid_export, probe_export  # noqa: PLC0415 - as above
    from dicom_node.lab.progress import say  # noqa: PLC0415 - as above
    from dicom_node.lab.runs import LabError  # noqa: PLC0415 - as above

    if args.bundle is not None:
        message = "--bundle belongs to a head run; a trained run brings its own embedder"
        raise LabError(message)
    made = hybrid_export.read_run(args.run_folder)
    gate = gate_serving.read(args.gate or args.run_folder / "gate", made.scores_sha256)
    served = gate_serving.serve(gate, made.cases, args.policy or "", args.differing)
    say(f"policy {served.gate.policy.value}: {served.words}")
    if args.data is None:
        trials = hybrid_export.own_trials(made)
    else:
        trials = probe_export.trials_of(embeddings.read_listing(args.data))
    given = args.notice.read_text(encoding="utf-8") if args.notice else ""
    parts = hybrid_export.body_parts(made, [one for one in args.body_parts.split(",") if one.strip()])
    scope = hybrid_export.Scope(parts, args.min_age, hybrid_export.notice(made, given), args.age_required)
    return hybrid_export.write(made, served, scope, trials, naming, args.out)
