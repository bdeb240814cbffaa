"""`dicom-node status`."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from dicom_node import settings as configuration
from dicom_node.cli import exits
from dicom_node.cli.words import age, counted, print_json, when
from dicom_node.core.errors import LedgerError
from dicom_node.core.findings import whole_percent
from dicom_node.ledger.spool import StateFolders, free_bytes
from dicom_node.services.asking import NodeClosed, NodeSilent, ask

if TYPE_CHECKING:
    import argparse

    from dicom_node.settings import Settings

_MIB = 1 << 20
_NO_BUNDLE = "none"  # services/digest says it so; importing it would take longest here
_NO_MODEL = "NONE, so nothing is analysed: `dicom-node bundle verify` says why"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the output format."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print how the node stands; 4 where it does not run: then from its ledger, which stands still."""
    settings = configuration.load(arguments.config)
    found = standing_now(settings)
    print_json(found) if arguments.json else _print(found, settings)
    return exits.GOOD if found["running"] else exits.SILENT


def standing_now(settings: Settings) -> dict[str, Any]:
    """Return what the running node says, else what its ledger says, and the disk; running: None where nobody knows."""
    folders = StateFolders.of(settings.node)
    try:
        found = {"running": True, **ask(folders.control, "status")}
    except NodeSilent as silence:
        running = None if isinstance(silence, NodeClosed) else False
        found = {"running": running, "accepting": False, "why": str(silence), **_from_ledger(settings, folders)}
    if folders.root.is_dir():
        found["disk"] = {"free_mib": free_bytes(folders.root) // _MIB, "reserve_mib": settings.node.reserve_mib}
    return found


def _from_ledger(settings: Settings, folders: StateFolders) -> dict[str, Any]:
    if folders.server is None and not os.access(folders.file, os.R_OK):
        return {}
    from dicom_node.ledger.overview import Overview  # noqa: PLC0415 - slow to import, and seldom needed
    from dicom_node.ledger.standing import standing  # noqa: PLC0415 - as above

    names = tuple(destination.name for destination in settings.destinations)
    try:
        with Overview(folders.ledger).reading() as connection:
            return {**standing(connection, names), "at": time.time()}
    except LedgerError as error:
        if folders.server is None:
            raise
        return {"ledger_problem": str(error)}


def _print(found: dict[str, Any], settings: Settings) -> None:
    node = settings.node
    if not found["running"]:
        ledger = f"; {found['ledger_problem']}" if "ledger_problem" in found else ""
        print(f"{'UNKNOWN' if found['running'] is None else 'NOT RUNNING'}: {found['why']}{ledger}")
    elif found["accepting"]:
        print(f"accepting as {node.ae_title}, for {age(found['running_for_s'])} (dicom-node {found['version']})")
    elif found["problem"]:
        failed = found["problem"].startswith("storage failed")
        until = "the disk works again: `dmesg` may say what it has" if failed else "there is room"
        print(f"NOT ACCEPTING: {found['problem']}; peers are told to come back until {until}")
    else:
        print("NOT ACCEPTING: paused; `dicom-node queue resume` ends that")
    if "jobs" in found:
        print(f"waiting       {_queue(found['jobs'], found['at'], 'job')}")
    if found["running"]:
        _print_parts(found)
    if "disk" in found:
        print(f"disk          {found['disk']['free_mib']} MiB free, {node.reserve_mib} of them never used")
    for name, queue in found.get("destinations", {}).items():
        error = f"; last error: {queue['last_error']}" if queue["last_error"] else ""
        print(f"destination   {name}: {_queue(queue, found['at'], 'delivery')}{error}")
    for result in found.get("latest", []):
        print(f"result        {when(result['published_at'])}  {_answer(result)}  {result['study_instance_uid']}")


def _print_parts(found: dict[str, Any]) -> None:
    """Print what a running node says of its parts."""
    workers = found["workers"]
    print(f"worker        {counted(workers, 'worker') if workers else 'NONE: systemctl restart dicom-node-worker@1'}")
    print(f"bundle        {_NO_MODEL if found['bundle_sha256'] == _NO_BUNDLE else found['bundle_sha256']}")
    if found["refused"]:
        kinds = ", ".join(f"{number} {why}" for why, number in sorted(found["refused"].items()))
        print(f"turned away   {kinds}: the log names who (association.refused)")
    for loop in found["late_loops"]:
        print(f"HANGING       {loop}: the watchdog restarts the node soon")


def _queue(queue: dict[str, Any], now: float, thing: str) -> str:
    text = counted(queue["waiting"], thing)
    if queue["oldest_at"] is not None:
        text += f", the oldest for {age(now - queue['oldest_at'])}"
    if queue["parked"]:
        text += f", {queue['parked']} parked"
    return text + (f", {queue['dead']} GIVEN UP (`dicom-node dead list`)" if queue["dead"] else "")


def _answer(result: dict[str, Any]) -> str:
    probability = f" ({whole_percent(result['probability'])})" if result["probability"] is not None else ""
    return f"{result['outcome'] or result['state']}{probability}"
