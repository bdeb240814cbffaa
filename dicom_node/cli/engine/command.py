"""`dicom-node engine`: the registry of its subcommands, a module each."""

from __future__ import annotations

import argparse
from typing import Final

from dicom_node import subcommands

COMMANDS: Final = {
    "import-cxr": "dicom_node.lab.cxr.command",
    "build": "dicom_node.cli.engine.build",
    "list": "dicom_node.cli.engine.listing",
    "verify": "dicom_node.cli.engine.verify",
    "benchmark": "dicom_node.cli.engine.benchmark",
    "remove": "dicom_node.cli.engine.remove",
    "selftest": "dicom_node.cli.engine.selftest",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands to a parser."""
    subcommands.add_subcommands(parser, "engine", COMMANDS)


def run(args: argparse.Namespace) -> int:
    """Run the chosen subcommand and return its exit status."""
    return subcommands.run_subcommand(args, "engine", COMMANDS)
