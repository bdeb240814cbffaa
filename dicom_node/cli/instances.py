"""`dicom-node instances`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from dicom_node.cli.arguments import count
from dicom_node.cli.tables import open_overview, print_json, print_table, when

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what to list and the output format."""
    parser.add_argument("--refused", action="store_true", help="list the refused ones, with the status they were given")
    parser.add_argument(
        "--limit", type=count, default=1000, help="how many of the newest to list; 0: all (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print every instance with its role and reason, or every refusal."""
    overview = open_overview(arguments.config)
    newest = arguments.limit or None
    rows = overview.refusals(newest) if arguments.refused else overview.instances(newest)
    if len(rows) == newest:
        sys.stderr.write(f"the newest {newest}; --limit 0 lists all\n")
    if arguments.json:
        print_json(rows)
    elif not rows:
        print("nothing was refused" if arguments.refused else "nothing was received yet")
    elif arguments.refused:
        print_table(
            "Refused instances",
            ("when", "sent by", "SOP instance", "status and reason"),
            [(when(row["at"]), _sender(row["facts"]), row["sop_instance_uid"], row["detail"]) for row in rows],
        )
    else:
        print_table(
            "Instances",
            ("received", "SOP instance", "modality", "role", "reason"),
            [
                (when(row["received_at"]), row["sop_instance_uid"], row["modality"], row["role"], row["reason_text"])
                for row in rows
            ],
        )
    return 0


def _sender(facts: dict[str, Any]) -> str:
    """Return title and address of who sent what was refused."""
    return " ".join(str(facts[name]) for name in ("calling_ae", "peer") if name in facts)
