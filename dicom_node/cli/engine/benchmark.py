"""`dicom-node engine benchmark`: milliseconds an image."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from dicom_node import subcommands

SUMMARY: Final = "measure milliseconds an image on TensorRT, where there is a plan, and on ONNX Runtime"
_DETAILS: Final = """\
goes in:   a bundle's folder
comes out: a line a runtime: median and 95th percentile of one image after another; for TensorRT also the mean with two
           images on their way

example:   dicom-node engine benchmark engines/compact-fracatlas --images 200
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.epilog = _DETAILS
    parser.add_argument("bundle", type=Path, help="the bundle's folder")
    parser.add_argument(
        "--images", type=subcommands.count, default=100, help="how many runs to measure (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Measure and print; 0 also where only ONNX Runtime is here."""
    from dicom_node.cli.engine import timing  # noqa: PLC0415 - `--help` stays quick
    from dicom_node.inference.bundle import load_bundle  # noqa: PLC0415

    bundle = load_bundle(args.bundle)
    print(timing.onnx_runtime(bundle, args.images))
    print(timing.tensorrt(bundle, args.images))
    return 0
