"""`dicom-node replay`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from dicom_node import settings as configuration
from dicom_node.cli.tables import print_json
from dicom_node.ledger.overview import Overview
from dicom_node.ledger.replaying import published_version
from dicom_node.ledger.spool import StateFolders
from dicom_node.services import logs

if TYPE_CHECKING:
    import argparse

    from dicom_node.services.replaying import Replay


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the study, the version and the output format."""
    parser.add_argument("study", help="Study Instance UID")
    parser.add_argument("--version", type=int, dest="number", help="version of its result (default: the newest)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Make the result again; 0: byte for byte the one that was sent, 1: it differs, or cannot be made again."""
    settings = configuration.load(arguments.config)
    logs.configure(settings.log.model_copy(update={"level": "warning"}), "replay")
    wanted = published_version(Overview(StateFolders.of(settings.node).ledger), arguments.study, arguments.number)
    if wanted is None:
        sys.stderr.write(f"{arguments.study}: no such published result; `dicom-node studies` lists what there is\n")
        return 1
    gone = [view.sop_instance_uid for view in wanted.inputs if view.storage != "spool"]
    if gone:
        sys.stderr.write(
            f"{arguments.study}: {len(gone)} of its images are not kept any more (keep.days); send again\n"
        )
        return 1
    from dicom_node.services.replaying import replay  # noqa: PLC0415 - brings the model's runtime

    done = replay(settings, wanted)
    print_json(asdict(done)) if arguments.json else _print(done)
    return 0 if done.same else 1


def _print(done: Replay) -> None:
    what = f"version {done.version} of {done.study_instance_uid}"
    if done.same:
        print(f"{what}: the same {len(done.files)} files, byte for byte")
    else:
        print(f"{what}: NOT the bytes that were sent")
    for difference in done.differences:
        print(f"  {difference}")
