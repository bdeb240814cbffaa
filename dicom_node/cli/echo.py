"""`dicom-node echo`."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from dicom_node import settings as configuration
from dicom_node.cli import exits
from dicom_node.cli.words import print_json
from dicom_node.core.errors import DestinationUnavailable, SettingsError
from dicom_node.dimse.scu import Peer, echo

if TYPE_CHECKING:
    import argparse

    from dicom_node.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add whom to ask."""
    parser.add_argument("who", nargs="?", help="name or AE title of a destination (default: every destination)")
    parser.add_argument("--host", help="with --port: any peer, by its address; WHO is then its AE title")
    parser.add_argument("--port", type=int, help="TCP port")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Ask, and print the answer of each; 1 where one does not answer."""
    settings = configuration.load(arguments.config)
    answers = [ask_one(name, peer, settings.node.ae_title) for name, peer in _peers(arguments, settings)]
    if arguments.json:
        print_json(answers)
    for answer in [] if arguments.json else answers:
        good = answer["problem"] is None
        (sys.stdout if good else sys.stderr).write(
            f"{answer['name']}: answered in {answer['ms']:.0f} ms\n"
            if good
            else f"{answer['name']}: {answer['problem']}\n"
        )
    return exits.GOOD if all(answer["problem"] is None for answer in answers) else exits.FAILED


def _peers(arguments: argparse.Namespace, settings: Settings) -> list[tuple[str, Peer]]:
    if arguments.host and arguments.port and arguments.who:
        return [(arguments.who, Peer(arguments.who, arguments.host, arguments.port, 10.0))]
    wanted = [one for one in settings.destinations if arguments.who in (None, one.name, one.ae_title)]
    if not wanted:
        names = ", ".join(one.name for one in settings.destinations) or "none is configured"
        message = (
            f"{arguments.who or 'no destination'}: not among the destinations ({names}); else give --host and --port"
        )
        raise SettingsError(message)
    return [(one.name, Peer(one.ae_title, one.host, one.port, min(one.timeout_s, 10.0))) for one in wanted]


def ask_one(name: str, peer: Peer, calling_ae: str) -> dict[str, Any]:
    """Return how a peer answered C-ECHO: milliseconds, or what is wrong."""
    started = time.monotonic()
    try:
        echo(peer, calling_ae)
    except (DestinationUnavailable, OSError) as error:
        problem = (
            str(error) if isinstance(error, DestinationUnavailable) else f"the connection broke ({error.strerror})"
        )
        return {"name": name, "ms": None, "problem": problem}
    return {"name": name, "ms": (time.monotonic() - started) * 1000, "problem": None}
