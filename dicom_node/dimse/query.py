"""The Query/Retrieve SCU: which studies a PACS has (C-FIND), and having it send them to us (C-MOVE). PS3.4 C."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydicom.dataset import Dataset
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at run time
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
)

from dicom_node.core.errors import DestinationRefused, DestinationUnavailable
from dicom_node.core.identifiers import is_usable_uid
from dicom_node.dimse import status
from dicom_node.dimse.scu import Peer, _association

if TYPE_CHECKING:
    from collections.abc import Iterator

_SYNTAX = "1.2.840.10008.1.2"
_PENDING = frozenset({0xFF00, 0xFF01})
_CANNOT_SEND = 0xA801  # PS3.4 C.4.2: move destination unknown
_OUT_OF_RESOURCES = range(0xA700, 0xA800)


@dataclass(frozen=True, slots=True)
class FoundStudy:
    """A study as a PACS lists it; nothing of the patient is asked for."""

    study_instance_uid: str
    study_date: str
    modalities: tuple[str, ...]
    instances: int | None


@dataclass(frozen=True, slots=True)
class Moved:
    """How many instances of a study the PACS sent, and how many it could not send."""

    completed: int
    failed: int


def find_studies(peer: Peer, calling_ae: str, study_date: str, modality: str) -> tuple[FoundStudy, ...]:
    """Return the studies of a date or range (YYYYMMDD, YYYYMMDD-YYYYMMDD) with a modality in them.

    Raises DestinationUnavailable where trying again may help, DestinationRefused where it will not.
    """
    query = Dataset()
    query.QueryRetrieveLevel = "STUDY"
    query.StudyDate, query.ModalitiesInStudy = study_date, modality
    query.StudyInstanceUID = query.NumberOfStudyRelatedInstances = ""
    model = StudyRootQueryRetrieveInformationModelFind
    with _association(peer, calling_ae, [(model, _SYNTAX)]) as association:
        answers = list(_answers(association.send_c_find(query, model), f"{peer.ae_title}: C-FIND"))
    found = [_study(dataset) for _, dataset in answers if dataset is not None]
    # A PACS may leave out what it does not match on; then it answers with more than was asked for.
    return tuple(one for one in found if one is not None and (not one.modalities or modality in one.modalities))


def move_study(peer: Peer, calling_ae: str, study_instance_uid: str, destination_ae: str) -> Moved:
    """Have a PACS send a whole study to an AE that it knows, and wait until it has.

    Raises DestinationUnavailable where trying again may help, DestinationRefused where it will not.
    """
    query = Dataset()
    query.QueryRetrieveLevel, query.StudyInstanceUID = "STUDY", study_instance_uid
    model = StudyRootQueryRetrieveInformationModelMove
    what = f"{peer.ae_title}: C-MOVE of {study_instance_uid} to {destination_ae}"
    last = Dataset()
    with _association(peer, calling_ae, [(model, _SYNTAX)]) as association:
        for answer, _ in _answers(association.send_c_move(query, destination_ae, model), what):
            last = answer
    return Moved(
        int(last.get("NumberOfCompletedSuboperations", 0) or 0), int(last.get("NumberOfFailedSuboperations", 0) or 0)
    )


def _answers(responses: Any, what: str) -> Iterator[tuple[Dataset, Dataset | None]]:
    """Yield each pending answer with its identifier and, without one, the last; raise where it failed."""
    for answer, identifier in responses:
        if "Status" not in answer:
            message = f"{what}: no answer came"
            raise DestinationUnavailable(message)
        code = int(answer.Status)
        if code in _PENDING:
            yield answer, identifier
        elif status.is_stored(code):
            yield answer, None
        else:
            message = f"{what}: answered 0x{code:04X}{_hint(code)}"
            raise (DestinationUnavailable if code in _OUT_OF_RESOURCES else DestinationRefused)(message)


def _hint(code: int) -> str:
    return "; enter our AE title, host and port there" if code == _CANNOT_SEND else ""


def _study(dataset: Dataset) -> FoundStudy | None:
    uid = str(dataset.get("StudyInstanceUID", ""))
    if not is_usable_uid(uid):
        return None
    listed = dataset.get("ModalitiesInStudy", ()) or ()
    modalities = (listed,) if isinstance(listed, str) else tuple(str(one) for one in listed)
    number = str(dataset.get("NumberOfStudyRelatedInstances", "") or "").strip()
    return FoundStudy(uid, str(dataset.get("StudyDate", "")), modalities, int(number) if number.isdigit() else None)
