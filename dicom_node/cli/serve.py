"""`dicom-node serve`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dicom_node import settings as configuration
from dicom_node.services import logs
from dicom_node.services.supervisor import Supervisor

if TYPE_CHECKING:
    import argparse


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    """Add nothing: --config is all it needs."""


def run(arguments: argparse.Namespace) -> int:
    """Run node and worker until SIGTERM; 3 where the ledger needs a person."""
    settings = configuration.load(arguments.config)
    logs.configure(settings.log, "supervisor")
    return Supervisor(arguments.config).run()
