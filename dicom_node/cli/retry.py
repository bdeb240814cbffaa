"""`dicom-node retry`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from dicom_node import settings as configuration
from dicom_node.ledger.spool import StateFolders
from dicom_node.services.messages import Revive, Revived, connect

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the study."""
    parser.add_argument("study", nargs="?", default="", help="Study Instance UID (default: all studies)")
    parser.add_argument("--destination", default="", help="name of a destination (default: all of them)")


def run(arguments: argparse.Namespace) -> int:
    """Ask the running node to send again; 1 where it is not running."""
    folders = StateFolders(configuration.load(arguments.config).node.state_dir)
    try:
        channel = connect(folders.socket)
    except OSError:
        sys.stderr.write("the node does not answer: start it with `dicom-node serve` and ask again\n")
        return 1
    channel.send(Revive(arguments.study, arguments.destination))
    answer = channel.receive(30.0)
    channel.close()
    print(f"{answer.count if isinstance(answer, Revived) else 0} deliveries are tried again")
    return 0
