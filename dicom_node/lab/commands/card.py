"""`dicom-node lab card`: the model card of a bundle."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

SUMMARY: Final = "write a bundle's model card anew from its measured files"
_DETAILS: Final = """\
goes in:   a bundle's folder, with manifest.toml and metrics.json as the command that made it left them (an import of
           CXR Foundation has its figures in manifest.toml)
comes out: MODEL_CARD.md written from these two files, SHA256SUMS renewed where that changed it, and the card printed;
           a manifest without the known answer that a worker asks at its start gets one

example:   dicom-node lab card engines/compact-fracatlas
           dicom-node lab card engines/compact-fracatlas --quiet
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.epilog = _DETAILS
    parser.add_argument("bundle", type=Path, help="the bundle's folder")
    parser.add_argument("--quiet", action="store_true", help="do not print the card")


def run(args: argparse.Namespace) -> int:
    """Write the card and print it."""
    from dicom_node.lab import cards  # noqa: PLC0415 - loaded only where it is used: `--help` stays quick
    from dicom_node.lab.progress import say  # noqa: PLC0415

    changed = cards.renew(args.bundle)
    if not args.quiet:
        say((args.bundle / cards.CARD).read_text(encoding="utf-8"))
    say(f"{args.bundle / cards.CARD}: {'written anew' if changed else 'already says what was measured'}")
    return 0
