"""`dicom-node lab export`: a head run and its embedder's bundle become a bundle that serves."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

SUMMARY: Final = "write the bundle that serves a probe, and try it through the node's own pipeline"
_DETAILS: Final = """\
goes in:   a run of `dicom-node lab head`; --bundle, the bundle whose embedder the embeddings came from; --data, images
           to try the result on (FracAtlas layout or CSV file image,label,group)
comes out: --out, a complete bundle: manifest.toml (Platt scaling, p_low with its exact bound, p_high), embedder.onnx,
           head.safetensors, NOTICE, MODEL_CARD.md, SHA256SUMS

The bundle is loaded and scores up to 64 images as the node would; every logit must be the probe's to 1e-3, or nothing
is written. A localiser of the embedder's bundle is kept, with its bounds; without one the bounds on a map are those of
the fractured images tried.

example:   dicom-node lab export runs/head --bundle engines/compact-fracatlas --data fracatlas --out engines/probe
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.epilog = _DETAILS
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="folder of a finished head run")
    parser.add_argument("--bundle", type=Path, required=True, help="the embedder's bundle")
    parser.add_argument("--data", type=Path, required=True, help="images to try the bundle on")
    parser.add_argument("--out", type=Path, required=True, help="new folder; its name becomes the bundle's")
    parser.add_argument("--version", default="0.1.0", help="the bundle's version (default 0.1.0)")


def run(args: argparse.Namespace) -> int:
    """Export and say what was tried."""
    import re  # noqa: PLC0415 - `--help` stays quick

    from dicom_node.inference.bundle import bundle_digest, load_bundle  # noqa: PLC0415
    from dicom_node.lab import embeddings, probe_export  # noqa: PLC0415
    from dicom_node.lab.progress import say  # noqa: PLC0415
    from dicom_node.lab.runs import LabError  # noqa: PLC0415

    name = args.out.resolve().name
    if not re.fullmatch(r"[a-z0-9-]{1,64}", name):
        message = f"--out {name}: a bundle's name is made of a-z, 0-9 and -; rename the folder"
        raise LabError(message)
    base = load_bundle(args.bundle)
    made = probe_export.read_run(args.run_folder, base)
    command = (
        f"dicom-node lab export {args.run_folder.resolve().name} --bundle engines/{args.bundle.resolve().name} "
        f"--data {args.data.resolve().name} --out engines/{name} --version {args.version}"
    )
    naming = probe_export.Naming(name, args.version, command)
    accepted = probe_export.export(made, base, embeddings.read_listing(args.data), naming, args.out)
    say(f"accepted: {accepted.images} images, logits within {accepted.largest_logit_difference:.2g} of the probe's")
    say(f"bundle: {args.out}, SHA-256 {bundle_digest(args.out)}")
    return 0
