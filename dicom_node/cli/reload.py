"""`dicom-node reload`."""

from __future__ import annotations

import sys
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from dicom_node import settings as configuration
from dicom_node.cli.words import lasts, print_json
from dicom_node.dimse.tls import days_left
from dicom_node.ledger.spool import StateFolders
from dicom_node.services.asking import ask

if TYPE_CHECKING:
    import argparse

    from dicom_node.settings import TlsSettings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the output format."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Let the node read its file again; 2 where the file is bad, and the settings in force stay."""
    settings = configuration.load(arguments.config)
    answer = ask(StateFolders(settings.node.state_dir).control, "reload")
    is_refused = "refused" in answer or "error" in answer
    left = None if is_refused or settings.node.tls is None else _days_left(settings.node.tls)
    if arguments.json:
        print_json(answer if left is None else answer | {"tls_days_left": left})
    if is_refused:
        sys.stderr.write(f"{answer.get('refused') or answer['error']}\nthe settings in force stay\n")
        return 2
    if not arguments.json:
        _print(answer)
        if left is not None:
            print(f"certificate: read again, {lasts(left)}")
    return 0


def _days_left(files: TlsSettings) -> float:
    return days_left(files.certificate, datetime.now(timezone.utc))


def _print(answer: dict[str, list[str]]) -> None:
    print(f"applied: {_list(answer['applied']) or 'nothing had changed that can be'}")
    if answer["restart_worker"]:
        print(f"restart the worker (systemctl restart 'dicom-node-worker@*') for: {_list(answer['restart_worker'])}")
    if answer["restart_all"]:
        print(f"restart everything (systemctl restart dicom-node.target) for: {_list(answer['restart_all'])}")


def _list(keys: list[str]) -> str:
    return ", ".join(keys)
