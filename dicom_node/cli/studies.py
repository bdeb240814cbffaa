"""`dicom-node studies`."""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

from dicom_node.cli.arguments import count
from dicom_node.cli.deliveries import proof, sent
from dicom_node.cli.tables import answer, open_overview, print_json, print_table, when
from dicom_node.core.model_identity import FALLBACK
from dicom_node.services.spans import trace_id

if TYPE_CHECKING:
    import argparse

    from dicom_node.ledger.overview import Overview


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the study and the output format."""
    parser.add_argument("study", nargs="?", help="Study Instance UID: show everything about this study")
    parser.add_argument(
        "--limit", type=count, default=100, help="how many of the newest to list (default: %(default)s)"
    )
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
        sys.stderr.write(f"{arguments.study}: {_unknown(overview, arguments.study)}\n")
        return 1
    for version in found["versions"]:
        version["trace_id"] = trace_id(arguments.study, version["version"])
    print_json(found) if arguments.json else _print_study(found)
    return 0


def _unknown(overview: Overview, uid: str) -> str:
    """Return what is known of a UID that is no study's: it may be an instance's, kept or refused."""
    records = list(overview.trail_of_instance(uid))
    study = next((record.study_instance_uid for record in records if record.study_instance_uid), None)
    if study:
        return f"this is an instance; its study is {study}"
    if records:
        return f"this is an instance that was refused, {records[-1].detail}; `dicom-node audit show {uid}` says by whom"
    return (
        "nothing was ever kept of this study; look at the PACS's queue, and at `dicom-node instances --refused`, "
        "which does not know the study"
    )


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


def _kept(instances: list[dict[str, Any]]) -> str:
    """Return what is still kept of the instances' bytes."""
    states = Counter(i["storage"] for i in instances)
    gone = [f"{number} {state}" for state, number in sorted(states.items()) if state != "spool"]
    return ", ".join([f"{_counted(states['spool'])} kept here", *gone])


def _delivery(delivery: dict[str, Any]) -> tuple[object, ...]:
    """Return a delivery's row: when it was stored, and what is proved of it since when."""
    own = (delivery[name] for name in ("version", "destination", "state", "attempts"))
    proved = f"{proof(delivery['proof'])} {when(delivery['proved_at'])}".strip()
    error = delivery["last_error"] or delivery["proof_error"]
    return (*own, when(delivery["done_at"]), proved, sent(delivery["slots"]), error)


def _print_study(found: dict[str, Any]) -> None:
    print(f"study {found['study_instance_uid']}: {found['state']}")
    print(f"sent by {', '.join(sorted({i['calling_ae'] for i in found['instances']}))}; {_kept(found['instances'])}")
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
