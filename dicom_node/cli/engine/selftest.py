"""`dicom-node engine selftest`: one table about this device, to be sent back to whoever asks how it does."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from dicom_node import subcommands

SUMMARY: Final = "print one table about this device: versions, memory, build, speed, acceptance"
_DETAILS: Final = """\
goes in:   a bundle's folder (default: the one that is installed)
comes out: one table without any data of a patient; what is missing or fails is said in its row

exit code: 0 an accepted plan runs here, 1 something is missing or failed

example:   scripts/jetson-selftest > selftest.txt
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.epilog = _DETAILS
    parser.add_argument("bundle", type=Path, nargs="?", help="the bundle's folder (default: the installed one)")
    parser.add_argument(
        "--images", type=subcommands.count, default=100, help="how many runs to measure (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Print the table; 1 where no accepted plan runs here."""
    from dicom_node.cli.engine import checkup  # noqa: PLC0415 - `--help` stays quick
    from dicom_node.settings import installed_bundle_folder  # noqa: PLC0415

    return checkup.print_checkup(args.bundle or installed_bundle_folder(), args.images)
