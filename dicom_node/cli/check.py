"""`dicom-node check`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dicom_node import overrides
from dicom_node import settings as configuration
from dicom_node.cli.words import print_json

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the output format."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print what the settings mean."""
    settings = configuration.load(arguments.config)
    node = settings.node
    if arguments.json:
        print_json({"config": str(arguments.config), "settings": settings.model_dump(mode="json")})
        return 0
    print(f"{arguments.config}: good")
    for override in overrides.collect(arguments.config):
        print(f"{'.'.join(override.key)} comes from {override.source}")
    print(f"listens as {node.ae_title} on {node.host}:{node.port}, keeps its state in {node.state_dir}")
    for destination in settings.destinations:
        print(f"sends to {destination.name}: {destination.ae_title} at {destination.host}:{destination.port}")
    if not settings.destinations:
        print("sends nowhere: add a [[destinations]] block")
    return 0
