"""`dicom-node …`: each subcommand is imported only when it is asked for."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from dicom_node import __version__
from dicom_node.core.errors import DicomNodeError, SettingsError

EXIT_FAILED, EXIT_USAGE = 1, 2
DEFAULT_CONFIG = Path("/etc/dicom-node/dicom-node.toml")

#: name: (module with add_arguments and run, what it does, whether it takes --config)
COMMANDS: dict[str, tuple[str, str, bool]] = {
    "serve": ("dicom_node.cli.serve", "run the node and its worker", True),
    "check": ("dicom_node.cli.check", "check a configuration file, and say file and line of what is wrong", True),
    "studies": ("dicom_node.cli.studies", "list the studies, or show everything about one", True),
    "instances": ("dicom_node.cli.instances", "list every instance received or refused, each with its reason", True),
    "retry": ("dicom_node.cli.retry", "send again the results whose delivery was given up", True),
    "reload": ("dicom_node.cli.reload", "let the running node read its configuration again", True),
    "bundle": ("dicom_node.cli.bundle", "verify the model bundle and print its digest and intended use", True),
    "demo": ("dicom_node.cli.demo.command", "show the whole walk of a study with a PACS on this machine", False),
    "engine": ("dicom_node.cli.engine.command", "import CXR Foundation; build and look after TensorRT plans", False),
    "lab": ("dicom_node.lab.command", "train and export model bundles (extra: lab)", False),
}


def main(argv: list[str] | None = None) -> int:
    """Run a subcommand; returns 0, 1 (it failed) or 2 (wrong usage or settings)."""
    arguments = sys.argv[1:] if argv is None else argv
    wanted = next((word for word in arguments if not word.startswith("-")), "")
    parser = _parser(wanted)
    parsed = parser.parse_args(arguments)
    if not wanted:
        parser.print_help()
        return EXIT_USAGE
    try:
        return int(parsed.run(parsed))
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_USAGE
    except DicomNodeError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_FAILED
    except KeyboardInterrupt:
        return 130


def _parser(wanted: str) -> argparse.ArgumentParser:
    """Return the parser; only the wanted subcommand's module is imported, so that --help is quick."""
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
        if name == wanted:
            command = importlib.import_module(module)
            command.add_arguments(sub)
            sub.set_defaults(run=command.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
