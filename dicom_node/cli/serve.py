"""`dicom-node serve`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from dicom_node import settings as configuration
from dicom_node.core.errors import SettingsError
from dicom_node.services import logs, process
from dicom_node.services.supervisor import Supervisor

if TYPE_CHECKING:
    import argparse


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    """Add nothing: --config is all it needs."""


def run(arguments: argparse.Namespace) -> int:
    """Run node and worker until SIGTERM; 2 where the settings are wrong, 3 where the ledger needs a person."""
    try:
        settings = configuration.load(arguments.config)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return process.EXIT_SETTINGS
    logs.configure(settings.log, "supervisor")
    return Supervisor(arguments.config).run()
