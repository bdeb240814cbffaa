"""`dicom-node engine verify`: the acceptance test again."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

SUMMARY: Final = "run the acceptance test again on the plan for this device"
_DETAILS: Final = """\
goes in:   a bundle's folder with a plan for this device
comes out: the figures, kept beside the plan: cosine of features, differences of logit and probability, peaks, outcomes
           against ONNX Runtime on the processor; a plan that fails is not used any more

example:   dicom-node engine verify engines/compact-fracatlas --images radiographs
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.epilog = _DETAILS
    parser.add_argument("bundle", type=Path, help="the bundle's folder")
    parser.add_argument("--images", type=Path, help="radiographs to try the plan on, 64 or more (default: drawn ones)")


def run(args: argparse.Namespace) -> int:
    """Try the plan of this device; 1 where it was not accepted."""
    from dicom_node.cli.engine.images import require_enough  # noqa: PLC0415 - `--help` stays quick
    from dicom_node.cli.engine.trial import try_plan  # noqa: PLC0415
    from dicom_node.inference import plans  # noqa: PLC0415
    from dicom_node.inference.bundle import load_bundle  # noqa: PLC0415
    from dicom_node.services.engine import current_key  # noqa: PLC0415

    plans.require_modules()
    require_enough(args.images)
    bundle = load_bundle(args.bundle)
    facts = plans.exact(bundle.folder, current_key(bundle, precision=""))
    return 0 if try_plan(bundle, facts, args.images) else 1
