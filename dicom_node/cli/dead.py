"""`dicom-node dead`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dicom_node import settings as configuration
from dicom_node.cli.arguments import count
from dicom_node.cli.queue import change, print_items
from dicom_node.ledger.spool import StateFolders

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what to do, with which study."""
    parser.add_argument("action", choices=("list", "replay"), help="list what was given up, or take it up again")
    parser.add_argument("study", nargs="?", default="", help="Study Instance UID (default: all studies)")
    parser.add_argument("--limit", type=count, default=100, help="how many to list (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """List what was given up, or let the node take it up again; 4 where no node answers."""
    settings = configuration.load(arguments.config)
    if arguments.action == "list":
        return print_items(settings, "dead", arguments.limit, arguments.study, as_json=arguments.json)
    control = StateFolders(settings.node.state_dir).control
    return change(control, "revive", arguments.study, as_json=arguments.json)
