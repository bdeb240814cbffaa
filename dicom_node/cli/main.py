"""`dicom-node …`: each subcommand is imported only when it is asked for."""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import sys
import tempfile
import traceback
from pathlib import Path

from dicom_node import __version__
from dicom_node.cli import exits
from dicom_node.core.errors import DicomNodeError, LedgerError, SettingsError

DEFAULT_CONFIG = Path("/etc/dicom-node/dicom-node.toml")

#: name: (module with add_arguments and run, what it does, whether it takes --config)
COMMANDS: dict[str, tuple[str, str, bool]] = {
    "init": ("dicom_node.cli.init", "write a configuration, try the PACS, say what to enter there", False),
    "check": ("dicom_node.cli.check", "check a configuration file, and say file and line of what is wrong", True),
    "doctor": ("dicom_node.cli.doctor.command", "examine the installation, and say what to do about each fault", True),
    "selftest": (
        "dicom_node.cli.selftest",
        "send a drawn study through a node of its own, and compare the answer",
        True,
    ),
    "serve": ("dicom_node.cli.serve", "run the node and its worker", True),
    "page": ("dicom_node.cli.page", "serve the status page and /metrics (extra: web)", True),
    "status": ("dicom_node.cli.status", "say what the node does now, and what waits", True),
    "studies": ("dicom_node.cli.studies", "list the studies, or show everything about one", True),
    "instances": ("dicom_node.cli.instances", "list every instance received or refused, each with its reason", True),
    "destinations": ("dicom_node.cli.destinations", "show what waits for each destination, or test them", True),
    "queue": ("dicom_node.cli.queue", "list what waits; try it now, park it, or empty the queue before work", True),
    "dead": ("dicom_node.cli.dead", "list what was given up, or take it up again", True),
    "retry": ("dicom_node.cli.retry", "send again the results whose delivery was given up", True),
    "echo": ("dicom_node.cli.echo", "ask a destination whether it answers", True),
    "backfill": ("dicom_node.cli.backfill", "fetch old studies from a PACS at a steady rate", True),
    "audit": ("dicom_node.cli.audit", "check, show or export the audit trail", True),
    "replay": ("dicom_node.cli.replay", "make a result again and say whether it is the same, byte for byte", True),
    "purge": ("dicom_node.cli.purge", "remove the bytes kept of studies whose results are delivered, or of one", True),
    "backup": ("dicom_node.cli.backup", "copy ledger, configuration and audit key, without images", True),
    "restore": ("dicom_node.cli.restore", "put a backup into an empty state folder", True),
    "reload": ("dicom_node.cli.reload", "let the running node read its configuration again", True),
    "bundle": ("dicom_node.cli.bundle", "verify, list or switch the model bundle", True),
    "support-bundle": ("dicom_node.cli.support", "collect what a helper needs, and nothing about a patient", True),
    "conformance": ("dicom_node.cli.conformance.command", "print the DICOM conformance statement", False),
    "completion": ("dicom_node.cli.completion", "print the completion of bash or zsh", False),
    "demo": ("dicom_node.cli.demo.command", "show the whole walk of a study with a PACS on this machine", False),
    "engine": ("dicom_node.cli.engine.command", "import CXR Foundation; build and look after TensorRT plans", False),
    "lab": ("dicom_node.lab.command", "train and export model bundles (extra: lab)", False),
}


def main(argv: list[str] | None = None) -> int:
    """Run a subcommand; returns one of the statuses of `exits`."""
    # Nobody else's plugins look at our settings; looking for them takes a tenth of a command's time.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    arguments = sys.argv[1:] if argv is None else argv
    wanted = next((word for word in arguments if not word.startswith("-")), "")
    status = exits.GOOD
    try:
        parser = build_parser({wanted})  # half a second of imports: here too a person may press Ctrl-C
        parsed = parser.parse_args(arguments)
        if not wanted:
            parser.print_help()
            return exits.USAGE
        status = int(parsed.run(parsed))
        if sys.stdout is not None:  # closed by whoever started us
            sys.stdout.flush()  # here, since whatever fails at the interpreter's end ends with its own words and 120
    except DicomNodeError as error:
        sys.stderr.write(f"{error}\n")
        return _status_of(error)
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        _drop_output()
    except Exception as error:  # noqa: BLE001 - the last frame before a person, who must not see a traceback
        if _is_full(error):
            _drop_output()
        sys.stderr.write(f"dicom-node {wanted}: {_told(error)}\n")
        return exits.FAILED if isinstance(error, OSError) and (error.filename or _is_full(error)) else exits.INTERNAL
    return status


def _drop_output() -> None:
    """Send what standard output still holds nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _status_of(error: DicomNodeError) -> int:
    if isinstance(error, SettingsError):
        return exits.USAGE
    if isinstance(error, LedgerError):
        return exits.LEDGER
    return exits.SILENT if type(error).__name__ == "NodeSilent" else exits.FAILED


def _is_full(error: Exception) -> bool:
    """Return whether the disk is full on which standard output, or a file in work, lies."""
    return isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}


def _told(error: Exception) -> str:
    """Return an unexpected error in one line, and leave where it came from in a file; its text may quote anything."""
    if isinstance(error, PermissionError) and error.filename:
        return f"{error.filename} may not be opened by this user: run it with sudo"
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    if _is_full(error):
        return "the output cannot be written: no room where it goes"
    frames = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
    try:
        handle, name = tempfile.mkstemp(prefix="dicom-node-fault-", suffix=".log", text=True)
        with os.fdopen(handle, "w") as file:
            file.write("\n".join([f"dicom-node {__version__}", type(error).__name__, *frames, ""]))
    except OSError:
        name = "no file could be written"
    return f"failed inside ({type(error).__name__}), which is a fault of this program; details: {name}"


def build_parser(wanted: set[str]) -> argparse.ArgumentParser:
    """Return the parser; only the wanted subcommands' modules are imported, so that --help is quick."""
    parser = argparse.ArgumentParser(
        prog="dicom-node", description="A second pair of eyes for fractures. Research software, not a medical device."
    )
    parser.add_argument("--version", action="version", version=f"dicom-node {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, (module, summary, takes_config) in COMMANDS.items():
        sub = commands.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        if takes_config:
            sub.add_argument(
                "--config", type=Path, default=DEFAULT_CONFIG, help="configuration file (default: %(default)s)"
            )
        if name in wanted:
            command = importlib.import_module(module)
            command.add_arguments(sub)
            sub.set_defaults(run=command.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
