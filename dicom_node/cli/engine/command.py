"""`dicom-node engine`: the registry of the engine's subcommands, a module each, imported only when asked for."""

from __future__ import annotations

import argparse
import importlib
from types import ModuleType
from typing import Any, Final

#: name: module with SUMMARY, add_arguments(parser) and run(args), light at import.
COMMANDS: Final = {
    "import-cxr": "dicom_node.lab.cxr.command",
}


class _OwnNamespace(argparse.ArgumentParser):
    """A subcommand's parser: its options stay together, so that one called --run cannot replace its caller's `run`."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        found, rest = super().parse_known_args(args, namespace)
        return argparse.Namespace(engine_arguments=found), rest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the engine's subcommands to a parser."""
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", dest="engine_command", required=True, parser_class=_OwnNamespace
    )
    for name in COMMANDS:
        module = _module(name)
        summary = str(module.SUMMARY)
        sub = commands.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(sub)


def run(args: argparse.Namespace) -> int:
    """Run the chosen subcommand and return its exit status."""
    return int(_module(args.engine_command).run(args.engine_arguments))


def _module(name: str) -> ModuleType:
    return importlib.import_module(COMMANDS[name])
