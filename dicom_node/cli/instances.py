"""`dicom-node instances`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dicom_node.cli.tables import open_overview, print_json, print_table, when

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what to list and the output format."""
    parser.add_argument("--refused", action="store_true", help="list the refused ones, with the status they were given")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print every instance with its role and reason, or every refusal."""
    overview = open_overview(arguments.config)
    rows = overview.refusals() if arguments.refused else overview.instances()
    if arguments.json:
        print_json(rows)
    elif arguments.refused:
        print_table(
            "Refused instances",
            ("when", "SOP instance", "status and reason"),
            [(when(row["at"]), row["sop_instance_uid"], row["detail"]) for row in rows],
        )
    else:
        print_table(
            "Instances",
            ("SOP instance", "modality", "role", "reason"),
            [(row["sop_instance_uid"], row["modality"], row["role"], row["reason_text"]) for row in rows],
        )
    return 0
