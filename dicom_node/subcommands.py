"""Commands with commands of their own (`dicom-node lab …`, `dicom-node engine …`): a registry, loaded when asked for.

A subcommand is a module, light at import, with SUMMARY, add_arguments(parser) and run(args).
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Mapping
from typing import Any


def add_subcommands(parser: argparse.ArgumentParser, name: str, modules: Mapping[str, str]) -> None:
    """Add the subcommands of the command `name` to its parser; modules: each one's name and its module's full name."""
    attribute = f"{name}_arguments"

    class OwnNamespace(argparse.ArgumentParser):
        """Keeps a subcommand's options together, so that one called --run cannot replace its caller's `run`."""

        def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:  # noqa: ARG002 - argparse's own
            found, rest = super().parse_known_args(args, None)
            return argparse.Namespace(**{attribute: found}), rest

    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", dest=f"{name}_command", required=True, parser_class=OwnNamespace
    )
    for subcommand, module_name in modules.items():
        module = importlib.import_module(module_name)
        summary = str(module.SUMMARY)
        sub = commands.add_parser(
            subcommand,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(sub)


def run_subcommand(args: argparse.Namespace, name: str, modules: Mapping[str, str]) -> int:
    """Run the chosen subcommand and return its exit status."""
    module = importlib.import_module(modules[getattr(args, f"{name}_command")])
    return int(module.run(getattr(args, f"{name}_arguments")))


def count(text: str) -> int:
    """Return an option's value as a whole number of at least 1, for argparse to refuse any other."""
    if not text.isdecimal() or int(text) < 1:
        message = f"{text} is no whole number from 1 up"
        raise argparse.ArgumentTypeError(message)
    return int(text)
