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
    from dicom_node.cli.tables import print_table  # noqa: PLC0415 - `--help` stays quick
    from dicom_node.core.errors import BundleError  # noqa: PLC0415
    from dicom_node.inference import plans  # noqa: PLC0415
    from dicom_node.inference.bundle import load_bundle  # noqa: PLC0415
    from dicom_node.services.engine import current_key  # noqa: PLC0415

    bundle = load_bundle(args.bundle)
    found = plans.saved(bundle.folder)
    if found:
        print_table(
            f"Plans of {bundle.manifest.name}",
            ("plan", "TensorRT", "GPU", "platform", "precision", "MiB", "built", "took", "acceptance"),
            [_row(facts) for facts in found],
        )
    try:
        plans.require_modules()
        print(f"used here: embedder-{plans.accepted(bundle.folder, current_key(bundle, precision='')).key.name}.plan")
    except BundleError as reason:
        print(f"used here: none ({reason})")
    return 0


def _row(facts: PlanFacts) -> tuple[object, ...]:
    key, acceptance = facts.key, facts.acceptance
    state = "never tried" if acceptance is None else "passed" if acceptance.passed else acceptance.problems[0]
    gpu, size = f"{key.gpu} (SM {key.sm})", f"{facts.plan_bytes / (1 << 20):.1f}"
    took = f"{facts.build_s} s, {facts.peak_mib} MiB"
    return key.name, key.tensorrt, gpu, key.platform, key.precision, size, facts.built_at, took, state
