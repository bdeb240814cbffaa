"""`dicom-node echo`."""

from __future__ import annotations

import re
import sys
import time
from typing import TYPE_CHECKING, Any

from dicom_node import settings as configuration
from dicom_node.cli import exits
from dicom_node.cli.words import print_json
from dicom_node.core.errors import DestinationRefused, DestinationUnavailable, SettingsError
from dicom_node.deliver.probe import probe
from dicom_node.destination_settings import AE_TITLE
from dicom_node.dimse.scu import Peer, echo

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from dicom_node.destination_settings import DestinationSettings
    from dicom_node.settings import Settings

_LONGEST_S = 10.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add whom to ask."""
    parser.add_argument("who", nargs="?", help="name or AE title of a destination (default: every destination)")
    parser.add_argument("--host", help="with --port: any DICOM peer, by its address; WHO is then its AE title")
    parser.add_argument("--port", type=int, help="TCP port")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Ask, and print the answer of each; 1 where one does not answer."""
    settings = configuration.load(arguments.config)
    own = settings.node.ae_title
    if arguments.host is not None or arguments.port is not None:
        if not (arguments.host and arguments.port and arguments.who and re.fullmatch(AE_TITLE, arguments.who)):
            message = "--host and --port go together, and WHO is that peer's AE title: 1 to 16 ASCII characters"
            raise SettingsError(message)
        peer = Peer(arguments.who, arguments.host, arguments.port, _LONGEST_S)
        answers = [ask_peer(arguments.who, peer, own)]
    else:
        answers = [ask_destination(one, own, _LONGEST_S) for one in _wanted(arguments.who, settings)]
    if arguments.json:
        print_json(answers)
    for answer in [] if arguments.json else answers:
        good = answer["problem"] is None
        text = f"{answer['answer']} in {answer['ms']:.0f} ms" if good else answer["problem"]
        (sys.stdout if good else sys.stderr).write(f"{answer['name']}: {text}\n")
    return exits.GOOD if all(answer["problem"] is None for answer in answers) else exits.FAILED


def _wanted(who: str | None, settings: Settings) -> list[DestinationSettings]:
    wanted = [one for one in settings.destinations if who in (None, one.name, getattr(one, "ae_title", None))]
    if not wanted:
        names = ", ".join(one.name for one in settings.destinations) or "none is configured"
        message = f"{who or 'no destination'}: not among the destinations ({names}); else give --host and --port"
        raise SettingsError(message)
    return wanted


def ask_destination(destination: DestinationSettings, calling_ae: str, longest_s: float) -> dict[str, Any]:
    """Return how a destination of any kind answers within longest_s seconds a step, or what is wrong."""
    patient = destination.model_copy(update={"timeout_s": min(destination.timeout_s, longest_s)})
    return _timed(destination.name, lambda: str(probe(patient, calling_ae)["answer"]))


def ask_peer(name: str, peer: Peer, calling_ae: str) -> dict[str, Any]:
    """Return how a peer answers C-ECHO, or what is wrong."""

    def ask() -> str:
        echo(peer, calling_ae)
        return "answers C-ECHO"

    return _timed(name, ask)


def _timed(name: str, ask: Callable[[], str]) -> dict[str, Any]:
    """Return the answer and its milliseconds, or the problem."""
    started, problem = time.monotonic(), None
    try:
        answer = ask()
    except (DestinationUnavailable, DestinationRefused) as error:
        problem = str(error)
    except OSError as error:
        problem = f"the connection broke ({type(error).__name__})"
    if problem is not None:
        return {"name": name, "ms": None, "answer": None, "problem": problem}
    return {"name": name, "ms": (time.monotonic() - started) * 1000, "answer": answer, "problem": None}
