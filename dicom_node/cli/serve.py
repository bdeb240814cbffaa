"""`dicom-node serve`."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from dicom_node import settings as configuration
from dicom_node.services import logs
from dicom_node.services.supervisor import PAGE, PROGRAMS, Supervisor

if TYPE_CHECKING:
    import argparse


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    """Add nothing: --config is all it needs."""


def run(arguments: argparse.Namespace) -> int:
    """Run node, worker and, where it is installed, the page until SIGTERM; 3 where the ledger needs a person."""
    settings = configuration.load(arguments.config)
    logs.configure(settings.log, "supervisor")
    page = (PAGE,) if settings.page.enabled and importlib.util.find_spec("starlette") else ()
    return Supervisor(arguments.config, (*PROGRAMS, *page)).run()
