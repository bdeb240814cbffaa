"""Asking a destination whether it is there and what it would take, without sending anything of a patient."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from dicom_node.core.errors import DestinationRefused
from dicom_node.deliver.dicom import peer_of
from dicom_node.deliver.ladder import SR_CLASSES
from dicom_node.destination_settings import DicomDestination, FhirDestination, Hl7Destination
from dicom_node.dimse.references import SYNTAXES
from dicom_node.dimse.scu import Context, open_sender
from dicom_node.dimse.sop_classes import STORAGE_COMMITMENT

if TYPE_CHECKING:
    from dicom_node.destination_settings import DestinationSettings, DicomwebDestination

_EXPLICIT = "1.2.840.10008.1.2.1"
_PAGES = "1.2.840.10008.5.1.4.1.1.7"
_COMPRESSED = ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90")
_STATES = "1.2.840.10008.5.1.4.1.1.11.1"
_VERIFICATION: Context = ("1.2.840.10008.1.1", "1.2.840.10008.1.2")
_COMMITMENT: tuple[Context, ...] = tuple((STORAGE_COMMITMENT, syntax) for syntax in SYNTAXES)
_OK = 200
_WRONG = {301, 302, 307, 308, 401, 403, 404}


def probe(destination: DestinationSettings, calling_ae: str) -> dict[str, Any]:
    """Return what a destination says: `answer` in words, `accepted` where it negotiates.

    Raises DestinationUnavailable or DestinationRefused where it cannot be used, with what to do.
    """
    if isinstance(destination, DicomDestination):
        return _dicom(destination, calling_ae)
    if isinstance(destination, Hl7Destination):
        from dicom_node.deliver.mllp import open_mllp  # noqa: PLC0415 - only where there is one

        with open_mllp(destination, calling_ae):
            return {"answer": "takes connections"}
    if isinstance(destination, FhirDestination) and destination.folder:
        if not os.access(destination.folder, os.W_OK | os.X_OK):
            message = f"{destination.name}: {destination.folder} is no folder that can be written"
            raise DestinationRefused(message)
        return {"answer": "can be written"}
    return _web(destination)


def _dicom(destination: DicomDestination, calling_ae: str) -> dict[str, Any]:
    proposed: list[Context] = [(_PAGES, syntax) for syntax in (*_COMPRESSED, _EXPLICIT)]
    proposed += [(sop_class, _EXPLICIT) for sop_class in (_STATES, *SR_CLASSES.values())]
    with open_sender(peer_of(destination), calling_ae, [_VERIFICATION, *_COMMITMENT, *proposed]) as sender:
        accepted = sorted(sender.accepted.intersection(proposed))
        more = ", offers storage commitment" if sender.accepted.intersection(_COMMITMENT) else ""
        if _VERIFICATION in sender.accepted:
            sender.echo()
            return {"answer": f"answers C-ECHO{more}", "accepted": accepted}
        return {"answer": f"takes associations, and no C-ECHO{more}", "accepted": accepted}


def _web(destination: DicomwebDestination | FhirDestination) -> dict[str, Any]:
    from dicom_node.deliver.web import open_web  # noqa: PLC0415 - only where there is one

    fhir = isinstance(destination, FhirDestination)
    # A query that finds nobody: no patient's data come back, and Orthanc knows no OPTIONS.
    path = "/metadata" if fhir else "/studies?StudyInstanceUID=2.25.0"
    with open_web(destination) as web:
        answer = web.request("GET", path, (), {"Accept": f"application/{'fhir' if fhir else 'dicom'}+json"})
        if answer.status in _WRONG or (fhir and answer.status != _OK):
            raise DestinationRefused(web.refusal(answer))
        return {"answer": f"answers HTTP {answer.status}"}
