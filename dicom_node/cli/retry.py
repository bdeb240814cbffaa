"""`dicom-node retry`: the deliveries of `dicom-node dead replay`, and what waits for its next try."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dicom_node import settings as configuration
from dicom_node.cli import exits
from dicom_node.cli.queue import asked
from dicom_node.cli.words import counted, print_json
from dicom_node.ledger.spool import StateFolders
from dicom_node.services.asking import ask

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the study."""
    parser.add_argument("study", nargs="?", default="", help="Study Instance UID (default: all studies)")
    parser.add_argument("--destination", default="", help="name of a destination (default: all of them)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Ask the running node to send again; 4 where it is not running."""
    control = StateFolders(configuration.load(arguments.config).node.state_dir).control
    answer = ask(control, "revive", study=arguments.study, destination=arguments.destination)
    print_json(answer) if arguments.json else print(
        f"{counted(answer['deliveries'], 'delivery')} tried again{asked(answer)}"
    )
    return exits.GOOD
