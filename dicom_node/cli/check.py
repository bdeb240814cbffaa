"""`dicom-node check`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dicom_node import settings as configuration
from dicom_node.destination_settings import address_of

if TYPE_CHECKING:
    import argparse


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    """Add nothing: --config is all it needs."""


def run(arguments: argparse.Namespace) -> int:
    """Print what the settings mean."""
    settings = configuration.load(arguments.config)
    node = settings.node
    print(f"{arguments.config}: good")
    print(f"listens as {node.ae_title} on {node.host}:{node.port}, keeps its state in {node.state_dir}")
    for destination in settings.destinations:
        print(f"sends to {destination.name}: {address_of(destination)}")
    if not settings.destinations:
        print("sends nowhere: add a [[destinations]] block")
    return 0
