"""`dicom-node check`."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from dicom_node import overrides
from dicom_node import settings as configuration
from dicom_node.cli.doctor.unheard import unheard
from dicom_node.cli.words import lasts, print_json
from dicom_node.core.running import EARLIEST
from dicom_node.destination_settings import address_of
from dicom_node.dimse import tls
from dicom_node.dimse.tls import TlsFiles
from dicom_node.ledger.spool import StateFolders

if TYPE_CHECKING:
    import argparse

    from dicom_node.settings import Settings, TlsSettings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the output format."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print what the settings mean."""
    settings = configuration.load(arguments.config)
    node = settings.node
    left = _days_left(node.tls) if node.tls is not None else None
    if arguments.json:
        facts = {"config": str(arguments.config), "tls_days_left": left, "warnings": _warnings(settings, left)}
        print_json(facts | {"settings": settings.model_dump(mode="json")})
        return 0
    print(f"{arguments.config}: good")
    for override in overrides.collect(arguments.config):
        print(f"{'.'.join(override.key)} comes from {override.source}")
    print(f"listens as {node.ae_title} on {node.host}:{node.port}, keeps its state in {node.state_dir}")
    folders = StateFolders.of(node)
    if folders.server is not None:
        with_it = f", with the password in {node.ledger_password_file}" if node.ledger_password_file else ""
        print(f"keeps its ledger at {folders.server}{with_it}")
    for peer in node.peers:
        print(f"lets in {peer.ae_title} from {', '.join(peer.addresses)}")
    if not node.peers:
        print("lets in any AE title of this machine, and nobody else: add a [[node.peers]] block for others")
    if left is not None:
        print(f"speaks TLS, with a certificate that {'has' if left < 0 else 'is'} {lasts(left)}")
    for destination in settings.destinations:
        print(f"sends to {destination.name}: {address_of(destination)}")
    if not settings.destinations:
        print("sends nowhere: add a [[destinations]] block")
    for warning in _warnings(settings, left):
        print(f"warning: {warning}")
    return 0


def _warnings(settings: Settings, days_left: float | None) -> list[str]:
    """Return what is allowed and probably not meant, a line each."""
    found = [f"{one.check}: {one.seen}; {one.do}" for one in unheard(settings)]
    if days_left is not None and days_left < 0:
        found.append(f"certificate: {lasts(days_left)}, so every peer refuses it; renew it, then `dicom-node reload`")
    if time.time() < EARLIEST:
        found.append("the clock was never set: reports carry its date; set it (timedatectl set-time, or NTP)")
    return found


def _days_left(files: TlsSettings) -> float:
    """Return the days that our certificate is still good for. Raises SettingsError where the files cannot be used."""
    tls.server_context(TlsFiles(files.certificate, files.key, files.ca))
    return tls.days_left(files.certificate, datetime.now(timezone.utc))
