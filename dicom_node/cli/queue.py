"""`dicom-node queue`."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from dicom_node import settings as configuration
from dicom_node.cli import exits
from dicom_node.cli.arguments import count, seconds
from dicom_node.cli.words import counted, print_json, when
from dicom_node.ledger.spool import StateFolders
from dicom_node.services.asking import ask

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from dicom_node.settings import Settings

_ACTIONS = ("list", "retry", "park", "drain", "resume")
_POLL_S = 0.5
_DONE = {"retry": "to be tried now", "park": "parked", "revive": "taken up again"}
_EPILOG = """list    what waits, oldest first, parked ones too
retry   try now what waits for its next try, and what was parked; of one study, or of all
park    keep what waits from being tried until `retry`; of one study, or of all
drain   take no more associations (peers are told to come back) and wait until all is done: before work on the machine
resume  take associations again"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what to do, with which study."""
    parser.add_argument("action", choices=_ACTIONS, help="what to do; see below")
    parser.add_argument("study", nargs="?", default="", help="Study Instance UID (default: all studies)")
    parser.add_argument("--limit", type=count, default=100, help="how many to list (default: %(default)s)")
    parser.add_argument("--wait-s", type=seconds, default=600.0, help="longest wait of drain (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.epilog = _EPILOG
    parser.formatter_class = _raw()


def _raw() -> Any:
    import argparse  # noqa: PLC0415 - imported by the caller already

    return argparse.RawDescriptionHelpFormatter


def run(arguments: argparse.Namespace) -> int:
    """List or change what waits; 1 where a drain did not end in time, 4 where no node answers."""
    settings = configuration.load(arguments.config)
    control = StateFolders.of(settings.node).control
    if arguments.action == "list":
        return print_items(settings, "ready", arguments.limit, arguments.study, as_json=arguments.json)
    if arguments.action == "drain":
        return _drain(control, arguments.wait_s, as_json=arguments.json)
    if arguments.action == "resume":
        answer = ask(control, "resume")
        print_json(answer) if arguments.json else print("accepting again")
        return exits.GOOD
    return change(control, arguments.action, arguments.study, as_json=arguments.json)


def change(control: Path, command: str, study: str, *, as_json: bool) -> int:
    """Let the node change its queues, and print how much was changed."""
    answer = ask(control, command, study=study)
    if as_json:
        print_json(answer)
    else:
        done = _DONE.get(command, command)
        print(f"{done}: {counted(answer['jobs'], 'job')}, {counted(answer['deliveries'], 'delivery')}{asked(answer)}")
    return exits.GOOD


def asked(answer: dict[str, Any]) -> str:
    """Return which destinations are asked now that had been left alone after a failure."""
    names = answer.get("asked_now")
    return f"; {' and '.join(names)}, left alone after a failure, asked again now" if names else ""


def print_items(settings: Settings, state: str, limit: int, study: str, *, as_json: bool) -> int:
    """Print the jobs and deliveries in a state, of one study or of all, from the ledger: the node need not run."""
    from dicom_node.ledger.overview import Overview  # noqa: PLC0415 - slow to import
    from dicom_node.ledger.standing import waiting_items  # noqa: PLC0415 - as above

    with Overview(StateFolders.of(settings.node).ledger).reading() as connection:
        found = waiting_items(connection, limit, state, study)
    if as_json:
        print_json(found)
        return exits.GOOD
    if not found["jobs"] and not found["deliveries"]:
        print(f"nothing {'waits' if state == 'ready' else 'was given up'}{study and f' of {study}'}")
    for job in found["jobs"]:
        print(f"{when(job['created_at'])}  {_kind(job['kind'], job)}  {job['study_instance_uid']}{_why(job)}")
    for item in found["deliveries"]:
        what = _kind(f"version {item['version']} to {item['destination']}", item)
        print(f"{when(item['created_at'])}  {what}  {item['study_instance_uid']}{_why(item)}")
    return exits.GOOD


def _kind(text: str, item: dict[str, Any]) -> str:
    return f"{text} (parked)" if item["parked"] else text


def _why(item: dict[str, Any]) -> str:
    return f"\n    tried {counted(item['attempts'], 'time')}, last: {item['last_error']}" if item["last_error"] else ""


def _drain(control: Path, wait_s: float, *, as_json: bool) -> int:
    """Pause, then wait until nothing waits."""
    ask(control, "pause")
    deadline, last = time.monotonic() + wait_s, -1
    while True:
        found = ask(control, "status")
        left = found["jobs"]["waiting"] + sum(queue["waiting"] for queue in found["destinations"].values())
        if left != last and not as_json:
            print(f"not accepting; {counted(left, 'item')} left", flush=True)
        if not left or time.monotonic() > deadline:
            break
        last = left
        time.sleep(_POLL_S)
    if as_json:
        print_json({"left": left})
    if left:
        sys.stderr.write(f"{counted(left, 'item')} left after {wait_s:.0f} s: `dicom-node queue list` says what\n")
        return exits.FAILED
    return exits.GOOD
