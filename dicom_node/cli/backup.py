"""`dicom-node backup`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from dicom_node import settings as configuration
from dicom_node.cli import exits
from dicom_node.cli.words import print_json
from dicom_node.ledger.backup import back_up
from dicom_node.ledger.spool import StateFolders
from dicom_node.services.noting import note_by_hand

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add where to put it."""
    parser.add_argument("folder", type=Path, help="a new folder for it, best on another disk")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Back up ledger, configuration and audit key, without stopping the node."""
    settings = configuration.load(arguments.config)
    folders = StateFolders.of(settings.node)
    head = back_up(folders, arguments.config, arguments.folder)
    if not note_by_hand(folders, "backup.made", f"into {arguments.folder}, with head {head}"):
        sys.stderr.write("the audit trail could not be told of this backup: `dicom-node status` says how the node is\n")
    if arguments.json:
        print_json({"folder": str(arguments.folder), "head": str(head)})
        return exits.GOOD
    print(f"{arguments.folder}: ledger, configuration and audit key, no images; audit head {head}")
    return exits.GOOD
