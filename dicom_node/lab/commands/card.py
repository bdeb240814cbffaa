"""`dicom-node lab card`: the model card of a bundle."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

SUMMARY: Final = "print the model card of a bundle"
_DETAILS: Final = """\
goes in:   a bundle's folder
comes out: its MODEL_CARD.md, which was written from the measured files when the bundle was made

example:   dicom-node lab card engines/compact-fracatlas
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.epilog = _DETAILS
    parser.add_argument("bundle", type=Path, help="the bundle's folder")


def run(args: argparse.Namespace) -> int:
    """Print the card."""
    from dicom_node.lab.progress import say  # noqa: PLC0415 - loaded only where it is used: `--help` stays quick
    from dicom_node.lab.runs import LabError  # noqa: PLC0415

    path = args.bundle / "MODEL_CARD.md"
    try:
        say(path.read_text(encoding="utf-8"))
    except OSError as error:
        message = f"{path}: cannot be read ({error.strerror}); give the folder of a bundle"
        raise LabError(message) from None
    return 0
