"""What a PACS must say before a delivery counts as proved, and asking it: storage commitment, or C-FIND."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from dicom_node.deliver.dicom import peer_of
from dicom_node.destination_settings import demand_of
from dicom_node.dimse import status
from dicom_node.dimse.commitment import Inquiry, open_inquiry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dicom_node.core.delivery import Proof
    from dicom_node.destination_settings import DicomDestination
    from dicom_node.dimse.commitment import Report

NOT_THERE = 0x0112
"""The failure reason "no such object instance" (PS3.3 C.14.1.1): what an object has that C-FIND does not find."""


class Said(Enum):
    """How a PACS takes a question."""

    ASKED = "it took the request; its report comes later"
    FOUND = "C-FIND finds every object"
    LACKS = "C-FIND does not find every object"
    NOT_OFFERED = "it offers no storage commitment"
    FAILED = "it would not say"


@dataclass(frozen=True, slots=True)
class Question:
    """What a destination shall keep: instances by SOP class, SOP Instance UID and Series Instance UID."""

    transaction_uid: str
    study_instance_uid: str
    instances: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a question; lacking: the SOP Instance UIDs that were not found; error: what to look at."""

    said: Said
    lacking: tuple[str, ...] = ()
    error: str = ""


class Confirmer:
    """An association with a PACS that is asked for the proofs that its settings demand."""

    def __init__(self, name: str, demand: Proof, inquiry: Inquiry) -> None:
        self._name = name
        self._demand = demand
        self._inquiry = inquiry

    def ask(self, question: Question) -> Answer:
        """Ask for the commitment of a delivery's objects, or look for them.

        Raises DestinationUnavailable where the association is lost or C-FIND fails.
        """
        if self._demand != "find" and self._inquiry.offers_commitment:
            asked = [(sop_class, uid) for sop_class, uid, _ in question.instances]
            answer = self._inquiry.request(question.transaction_uid, asked)
            if status.is_stored(answer):
                return Answer(Said.ASKED)
            if not status.is_not_offered(answer):
                error = f"{self._name} answered the request for storage commitment with 0x{answer:04X}"
                return Answer(Said.FAILED, error=error)
        if self._demand == "required":
            error = f'{self._name} offers no storage commitment: enable it there, or set commitment to "auto"'
            return Answer(Said.FAILED, error=error)
        return Answer(Said.NOT_OFFERED) if self._demand == "auto" else self._look_for(question)

    def await_report(self, wait_s: float) -> bool:
        """Take a report that comes on this association; false where none came in that time."""
        return self._inquiry.await_report(wait_s)

    def _look_for(self, question: Question) -> Answer:
        if not self._inquiry.offers_find:
            error = f"{self._name} accepts no C-FIND from us: allow it there, or set confirm_by_find to false"
            return Answer(Said.FAILED, error=error)
        study, inquiry = question.study_instance_uid, self._inquiry
        lacking = tuple(uid for _, uid, series in question.instances if not inquiry.has(study, series, uid))
        return Answer(Said.LACKS, lacking) if lacking else Answer(Said.FOUND)


@contextmanager
def open_confirmer(
    destination: DicomDestination, calling_ae: str, take: Callable[[Report], int]
) -> Iterator[Confirmer]:
    """Yield an association over which a PACS is asked; `take` is given what it reports on it.

    Raises DestinationUnavailable where there is none.
    """
    demand = demand_of(destination)
    wanted = {"commitment": demand != "find", "find": demand.endswith("find")}
    with open_inquiry(peer_of(destination), calling_ae, take, **wanted) as inquiry:
        yield Confirmer(destination.name, demand, inquiry)
