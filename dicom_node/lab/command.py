"""`dicom-node lab`: the registry of the lab's subcommands, a module each."""

from __future__ import annotations

import argparse
import importlib
from types import ModuleType
from typing import Any, Final

#: name: module of dicom_node.lab.commands with SUMMARY, add_arguments(parser) and run(args), light at import.
COMMANDS: Final = {
    "embed": "embed",
    "head": "head",
    "calibrate": "calibrate",
    "train": "train",
    "gate": "gate",
    "gradcam": "gradcam",
    "evaluate": "evaluate",
    "compare": "compare",
    "import-probe": "import_probe",
    "export": "export",
    "train-default": "train_default",
    "card": "card",
}


class _OwnNamespace(argparse.ArgumentParser):
    """A subcommand's parser: its options stay together, so that one called --run cannot replace its caller's `run`."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        found, rest = super().parse_known_args(args, namespace)
        return argparse.Namespace(lab_arguments=found), rest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the lab's subcommands to a parser."""
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", dest="lab_command", required=True, parser_class=_OwnNamespace
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
    return int(_module(args.lab_command).run(args.lab_arguments))


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"dicom_node.lab.commands.{COMMANDS[name]}")
