"""Sending one version of a result to one destination, in one association."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dicom_node.core.delivery import Backoff
from dicom_node.dimse.scu import Outgoing, Peer, send

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dicom_node.settings import DestinationSettings

_SECONDS_A_DAY = 86400.0


def send_result(destination: DestinationSettings, calling_ae: str, objects: Sequence[Outgoing]) -> None:
    """Send a version's objects in their order: the heatmaps first, so that every reference in the report resolves.

    Raises DestinationUnavailable (try again) or DestinationRefused (a person must look).
    """
    peer = Peer(destination.ae_title, destination.host, destination.port, destination.timeout_s)
    send(peer, calling_ae, objects)


def backoff_of(destination: DestinationSettings) -> Backoff:
    """Return when failed deliveries to this destination are tried again."""
    return Backoff(destination.retry_first_s, destination.retry_longest_s, destination.retry_days * _SECONDS_A_DAY)
