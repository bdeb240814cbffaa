"""`dicom-node studies`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from dicom_node.cli.tables import answer, open_overview, print_json, print_table, when

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the study and the output format."""
    parser.add_argument("study", nargs="?", help="Study Instance UID: show everything about this study")
    parser.add_argument("--limit", type=int, default=100, help="how many of the newest to list (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print the newest studies, or one; 1 where the study is not known here."""
    overview = open_overview(arguments.config)
    if not arguments.study:
        studies = overview.studies(arguments.limit)
        print_json(studies) if arguments.json else _print_list(studies)
        return 0
    found = overview.study(arguments.study)
    if found is None:
        sys.stderr.write(f"{arguments.study}: nothing was ever received of this study; look at the PACS's queue\n")
        return 1
    print_json(found) if arguments.json else _print_study(found)
    return 0


def _print_list(studies: list[dict[str, Any]]) -> None:
    rows = [
        (s["study_instance_uid"], when(s["last_received_at"]), s["instances"], s["state"], s["version"], answer(s))
        for s in studies
    ]
    print_table("Studies, newest first", ("study", "last received", "instances", "state", "version", "result"), rows)


def _print_study(found: dict[str, Any]) -> None:
    print(f"study {found['study_instance_uid']}: {found['state']}")
    print_table(
        "Instances",
        ("SOP instance", "modality", "received", "role", "reason"),
        [
            (i["sop_instance_uid"], i["modality"], when(i["received_at"]), i["role"], i["reason_text"])
            for i in found["instances"]
        ],
    )
    print_table(
        "Results",
        ("version", "state", "closed", "result"),
        [(v["version"], v["state"], when(v["closed_at"]), answer(v)) for v in found["versions"]],
    )
    print_table(
        "Deliveries",
        ("version", "destination", "state", "attempts", "last error"),
        [(d["version"], d["destination"], d["state"], d["attempts"], d["last_error"]) for d in found["deliveries"]],
    )
    print_table(
        "History", ("when", "event", "detail"), [(when(h["at"]), h["event"], h["detail"]) for h in found["history"]]
    )
