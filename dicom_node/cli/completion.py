"""`dicom-node completion`."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

_OFFLINE = {"lab", "engine"}  # their own options need extras that a node has not


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the shell."""
    parser.add_argument("shell", choices=("bash", "zsh"), help="for bash: … > /etc/bash_completion.d/dicom-node")


def run(arguments: argparse.Namespace) -> int:
    """Print the completion of every command and option."""
    import shtab  # noqa: PLC0415 - needed by this command only

    main = importlib.import_module("dicom_node.cli.main")  # which imports this module by its name
    parser = main.build_parser(set(main.COMMANDS) - _OFFLINE)
    print(shtab.complete(parser, arguments.shell))
    return 0
