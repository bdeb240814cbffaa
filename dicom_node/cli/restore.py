"""`dicom-node restore`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from dicom_node import settings as configuration
from dicom_node.cli import exits
from dicom_node.cli.words import print_json
from dicom_node.ledger.backup import put_back
from dicom_node.ledger.spool import StateFolders

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add where the backup is."""
    parser.add_argument("folder", type=Path, help="folder that `dicom-node backup` has made")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Put a backup into the configured state folder, which must have no ledger."""
    settings = configuration.load(arguments.config)
    head = put_back(arguments.folder, StateFolders.of(settings.node), time.time())
    if arguments.json:
        print_json({"state_dir": str(settings.node.state_dir), "head": str(head)})
        return exits.GOOD
    print(f"{settings.node.state_dir}: ledger and audit key are back; audit head {head}")
    print("images are not in a backup: the scrub lists them as missing, and the PACS can send them again")
    return exits.GOOD
