"""`dicom-node lab`: the registry of the lab's subcommands, a module each."""

from __future__ import annotations

import argparse
from typing import Final

from dicom_node import subcommands

COMMANDS: Final = {
    "embed": "dicom_node.lab.commands.embed",
    "head": "dicom_node.lab.commands.head",
    "calibrate": "dicom_node.lab.commands.calibrate",
    "train": "dicom_node.lab.commands.train",
    "gate": "dicom_node.lab.commands.gate",
    "gradcam": "dicom_node.lab.commands.gradcam",
    "evaluate": "dicom_node.lab.commands.evaluate",
    "compare": "dicom_node.lab.commands.compare",
    "import-probe": "dicom_node.lab.commands.import_probe",
    "export": "dicom_node.lab.commands.export",
    "train-default": "dicom_node.lab.commands.train_default",
    "card": "dicom_node.lab.commands.card",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the lab's subcommands to a parser."""
    subcommands.add_subcommands(parser, "lab", COMMANDS)


def run(args: argparse.Namespace) -> int:
    """Run the chosen subcommand and return its exit status."""
    return subcommands.run_subcommand(args, "lab", COMMANDS)
