"""`dicom-node reload`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from dicom_node import settings as configuration
from dicom_node.cli.tables import print_json
from dicom_node.ledger.spool import StateFolders
from dicom_node.services.asking import ask

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the output format."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Let the node read its file again; 2 where the file is bad, and the settings in force stay."""
    settings = configuration.load(arguments.config)
    answer = ask(StateFolders(settings.node.state_dir).control, "reload")
    if arguments.json:
        print_json(answer)
    if "refused" in answer or "error" in answer:
        sys.stderr.write(f"{answer.get('refused') or answer['error']}\nthe settings in force stay\n")
        return 2
    if not arguments.json:
        _print(answer)
    return 0


def _print(answer: dict[str, list[str]]) -> None:
    print(f"applied: {_list(answer['applied']) or 'nothing had changed that can be'}")
    if answer["restart_worker"]:
        print(f"restart the worker (systemctl restart 'dicom-node-worker@*') for: {_list(answer['restart_worker'])}")
    if answer["restart_all"]:
        print(f"restart everything (systemctl restart dicom-node.target) for: {_list(answer['restart_all'])}")


def _list(keys: list[str]) -> str:
    return ", ".join(keys)
