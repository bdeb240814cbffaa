"""`dicom-node purge`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from dicom_node import settings as configuration
from dicom_node.cli import exits
from dicom_node.cli.words import counted, print_json
from dicom_node.ledger.spool import StateFolders
from dicom_node.services.asking import SILENT, NodeSilent
from dicom_node.services.messages import Purge, Purged, connect

if TYPE_CHECKING:
    import argparse

_LIMIT_S = 600.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the study."""
    parser.add_argument(
        "study",
        nargs="?",
        default="",
        help="Study Instance UID: this one, unless it is still in work (default: all that keep.days lets go)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Ask the running node to purge; 1 where it keeps nothing of the study, 4 where it is not running."""
    folders = StateFolders(configuration.load(arguments.config).node.state_dir)
    try:
        channel = connect(folders.socket)
    except OSError as error:
        raise NodeSilent(SILENT) from error
    channel.send(Purge(arguments.study))
    answer = channel.receive(_LIMIT_S)
    channel.close()
    count = answer.count if isinstance(answer, Purged) else 0
    if arguments.json:
        print_json({"studies": count})
    else:
        print(
            f"removed what was kept of {counted(count, 'study')}; what the ledger and the audit trail say of them stays"
        )
    if arguments.study and not count:
        sys.stderr.write(f"{arguments.study}: not answered yet, or nothing is kept of it (`dicom-node studies` says)\n")
        return exits.FAILED
    return exits.GOOD
