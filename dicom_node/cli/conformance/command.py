"""`dicom-node conformance`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dicom_node import settings as configuration
from dicom_node.cli.conformance.document import statement

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options to a parser."""
    parser.add_argument("--config", type=Path, help="configuration to describe (default: the defaults)")
    parser.add_argument("--output", type=Path, help="file to write (default: standard output)")


def run(arguments: argparse.Namespace) -> int:
    """Print or write the statement."""
    settings = configuration.load(arguments.config) if arguments.config else configuration.Settings()
    text = statement(settings)
    if arguments.output is None:
        print(text, end="")
    else:
        arguments.output.write_text(text, encoding="utf-8")
    return 0
