"""`dicom-node engine build`: a TensorRT plan of a bundle for this device, and its acceptance test."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from dicom_node import subcommands

SUMMARY: Final = "build a bundle's TensorRT plan on this device and try it against ONNX Runtime"
_DETAILS: Final = """\
goes in:   a bundle's folder, which must be writable; TensorRT and pycuda (docs/jetson.md)
comes out: beside the bundle's files, embedder-KEY.plan, embedder-KEY.facts.plan (what it was built for, in how long,
           and how it did in the acceptance test) and embedder.timing-cache, which makes the next build quicker

The precision is the network's own: export it as you want it to run. A plan is used by the node only if it passed, on
exactly this TensorRT, GPU, driver and network. Where such a plan is in place already, nothing is done.

example:   dicom-node engine build engines/compact-fracatlas
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.epilog = _DETAILS
    parser.add_argument("bundle", type=Path, help="the bundle's folder")
    parser.add_argument("--images", type=Path, help="radiographs to try the plan on, 64 or more (default: drawn ones)")
    parser.add_argument(
        "--workspace-mib",
        type=subcommands.count,
        metavar="MIB",
        help="TensorRT's workspace limit (default: a quarter of the free)",
    )
    parser.add_argument("--again", action="store_true", help="build although an accepted plan is in place")
    parser.add_argument("--anyway", action="store_true", help="build although memory seems too short")


def run(args: argparse.Namespace) -> int:
    """Build and try; 1 where the plan was not accepted."""
    from dicom_node.cli.engine import building  # noqa: PLC0415 - loaded only where it is used: `--help` stays quick

    return building.build(args)
