"""`dicom-node engine list`: the plans beside a bundle."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from dicom_node.inference.plans import PlanFacts

SUMMARY: Final = "list a bundle's TensorRT plans, and say which one the node would use here"
_DETAILS: Final = """\
goes in:   a bundle's folder
comes out: a line a plan: what it was built for, in how long, and whether it was accepted; then what is used here

example:   dicom-node engine list engines/compact-fracatlas
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.epilog = _DETAILS
    parser.add_argument("bundle", type=Path, help="the bundle's folder")


def run(args: argparse.Namespace) -> int:
    """Print the plans; 0 also where there is none."""
    from dicom_node.core.errors import BundleError  # noqa: PLC0415 - `--help` stays quick
    from dicom_node.inference import plans  # noqa: PLC0415
    from dicom_node.inference.bundle import load_bundle  # noqa: PLC0415
    from dicom_node.services.engine import current_key  # noqa: PLC0415

    bundle = load_bundle(args.bundle)
    for facts in plans.saved(bundle.folder):
        print(_line(facts))
    try:
        plans.require_modules()
        print(f"used here: embedder-{plans.accepted(bundle.folder, current_key(bundle, precision='')).key.name}.plan")
    except BundleError as reason:
        print(f"used here: none ({reason})")
    return 0


def _line(facts: PlanFacts) -> str:
    """Return a plan in one line, its name first and unbroken: `engine remove` is given it."""
    key, acceptance = facts.key, facts.acceptance
    state = "never tried" if acceptance is None else "passed" if acceptance.passed else acceptance.problems[0]
    device = f"TensorRT {key.tensorrt}, {key.gpu} (SM {key.sm}), {key.platform}, {key.precision}"
    built = f"built {facts.built_at} in {facts.build_s} s with {facts.peak_mib} MiB of memory"
    return f"{key.name}: {state}; {device}, {facts.plan_bytes / (1 << 20):.1f} MiB; {built}"
