"""The connection to a destination of any kind, opened once for several results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dicom_node.core.delivery import Backoff
from dicom_node.destination_settings import DicomDestination, DicomwebDestination, FhirDestination

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from dicom_node.deliver.parcel import Parcel, Session
    from dicom_node.destination_settings import DestinationSettings

_SECONDS_A_DAY = 86400.0


def open_session(
    destination: DestinationSettings, calling_ae: str, parcels: Sequence[Parcel]
) -> AbstractContextManager[Session]:
    """Return the connection to a destination over which these results may go; entering it opens it.

    Entering raises DestinationUnavailable (try again) or DestinationRefused (a person must look). Each kind is loaded
    when there is a destination of it.
    """
    if isinstance(destination, DicomDestination):
        from dicom_node.deliver.dicom import open_dicom  # noqa: PLC0415

        return open_dicom(destination, calling_ae, parcels)
    if isinstance(destination, DicomwebDestination):
        from dicom_node.deliver.stow import open_stow  # noqa: PLC0415

        return open_stow(destination)
    if isinstance(destination, FhirDestination):
        from dicom_node.deliver.fhir import open_fhir  # noqa: PLC0415

        return open_fhir(destination)
    from dicom_node.deliver.mllp import open_mllp  # noqa: PLC0415

    return open_mllp(destination, calling_ae)


def backoff_of(destination: DestinationSettings) -> Backoff:
    """Return when failed deliveries to this destination are tried again."""
    return Backoff(destination.retry_first_s, destination.retry_longest_s, destination.retry_days * _SECONDS_A_DAY)
