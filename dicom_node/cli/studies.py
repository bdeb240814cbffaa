"""`dicom-node studies`."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from dicom_node.cli.deliveries import proof, sent
from dicom_node.cli.tables import answer, open_overview, print_json, print_table, when
from dicom_node.core.model_identity import FALLBACK
from dicom_node.services.spans import trace_id

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
    for version in found["versions"]:
        version["trace_id"] = trace_id(arguments.study, version["version"])
    print_json(found) if arguments.json else _print_study(found)
    return 0


def _print_list(studies: list[dict[str, Any]]) -> None:
    """Print two lines a study: a UID alone fills most of a terminal's width."""
    if not studies:
        print("nothing was received yet")
    for study in studies:
        version = f"version {study['version']}" if study["version"] else "no result"
        print(f"{when(study['last_received_at'])}  {answer(study)}")
        runtimes = f", by {study['runtimes']}" if study["runtimes"] else ""
        words = f"{_counted(study['instances'])}, {study['state']}, {version}{runtimes}"
        print(f"    {study['study_instance_uid']}  ({words})")


def _counted(instances: int) -> str:
    return "1 instance" if instances == 1 else f"{instances} instances"


def _finding(instance: dict[str, Any]) -> str:
    """Return what was found in a view, or why an instance is none."""
    if not instance["finding"]:
        return str(instance["reason_text"] or "not analysed yet")
    finding = json.loads(instance["finding"])
    reason = finding["reason"]["text"] if finding["reason"] else None
    return answer({"outcome": finding["outcome"], "probability": finding["probability"], "reason_text": reason})


def _runtimes(instances: list[dict[str, Any]]) -> list[str]:
    """Return what ran the model on a study's images, each once, and why it was not what the settings ask for."""
    models = [json.loads(i["finding"]).get("model") for i in instances if i["finding"]]
    lines = []
    for model in models:
        if model:
            fallback = dict(model["parameters"]).get(FALLBACK)
            lines.append(model["runtime"] + (f" (instead of TensorRT: {fallback})" if fallback else ""))
    return sorted(set(lines))


def _delivery(delivery: dict[str, Any]) -> tuple[object, ...]:
    """Return a delivery's row: when it was stored, and what is proved of it since when."""
    own = (delivery[name] for name in ("version", "destination", "state", "attempts"))
    proved = f"{proof(delivery['proof'])} {when(delivery['proved_at'])}".strip()
    error = delivery["last_error"] or delivery["proof_error"]
    return (*own, when(delivery["done_at"]), proved, sent(delivery["slots"]), error)


def _print_study(found: dict[str, Any]) -> None:
    print(f"study {found['study_instance_uid']}: {found['state']}")
    for runtime in _runtimes(found["instances"]):
        print(f"analysed by {runtime}")
    print_table(
        "Instances",
        ("SOP instance", "modality", "received", "role", "finding or reason"),
        [
            (i["sop_instance_uid"], i["modality"], when(i["received_at"]), i["role"], _finding(i))
            for i in found["instances"]
        ],
    )
    print_table(
        "Results",
        ("version", "state", "closed", "result", "trace"),
        [(v["version"], v["state"], when(v["closed_at"]), answer(v), v["trace_id"]) for v in found["versions"]],
    )
    print_table(
        "Deliveries",
        ("version", "destination", "state", "attempts", "stored", "proof", "what it has", "last error"),
        [_delivery(d) for d in found["deliveries"]],
    )
    print_table(
        "History", ("when", "event", "detail"), [(when(h["at"]), h["event"], h["detail"]) for h in found["history"]]
    )
