"""Storage commitment as its SCU (PS3.4 J), and C-FIND for one instance where a peer offers none (PS3.4 C.4.1)."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydicom.dataset import Dataset
from pynetdicom.dsutils import encode

from dicom_node.core.errors import DestinationUnavailable, MalformedDataSet
from dicom_node.dimse import status
from dicom_node.dimse.references import EXPLICIT_LITTLE, IMPLICIT_LITTLE, SYNTAXES, items, read, text
from dicom_node.dimse.requestor import Context, Incoming, Peer, Requestor
from dicom_node.dimse.services import Report
from dicom_node.dimse.sop_classes import STORAGE_COMMITMENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

__all__ = ["PROVING", "Inquiry", "Outcome", "Report", "open_inquiry", "read_report"]

_INSTANCE = "1.2.840.10008.1.20.1.1"  # the one instance of the Storage Commitment Push Model
_FIND = "1.2.840.10008.5.1.4.1.2.2.1"  # Study Root Query/Retrieve Information Model
_REQUEST = 1  # action type, PS3.4 J.3.2
_TRANSACTION, _FAILED, _REFERENCED = 0x00081195, 0x00081198, 0x00081199
_SOP_INSTANCE, _REASON, _FOUND_INSTANCE = 0x00081155, 0x00081197, 0x00080018
PROVING = (STORAGE_COMMITMENT, _FIND)
"""What a peer is asked by whether it keeps an instance."""
_SEQUENCES = frozenset({_FAILED, _REFERENCED})
_PROCESSING_FAILURE = 0x0110


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a report says: the instances that are committed, and why others are not (PS3.3 C.14.1.1)."""

    transaction_uid: str
    committed: frozenset[str]
    failed: Mapping[str, int]


def read_report(report: Report) -> Outcome:
    """Return what an N-EVENT-REPORT of storage commitment says. Raises MalformedDataSet."""
    found = read(report.dataset, report.transfer_syntax_uid, _SEQUENCES)
    failed = {}
    for item in items(found, _FAILED):
        reason = item.get(_REASON)
        is_number = isinstance(reason, bytes) and len(reason) == 2  # noqa: PLR2004 - a US
        failed[text(item, _SOP_INSTANCE)] = int.from_bytes(reason, "little") if is_number else _PROCESSING_FAILURE  # type: ignore[arg-type]
    committed = frozenset(text(item, _SOP_INSTANCE) for item in items(found, _REFERENCED))
    return Outcome(text(found, _TRANSACTION), committed - failed.keys(), failed)


class Inquiry:
    """An open association over which a peer is asked what it keeps."""

    def __init__(self, peer: Peer, calling_ae: str, sop_classes: Iterable[str], take: Callable[[Report], int]) -> None:
        self._peer = peer
        self._take = take
        contexts = [(uid, syntax) for uid in sop_classes for syntax in reversed(SYNTAXES)]
        self._requestor = Requestor(peer, calling_ae, contexts, self._on_event)

    @property
    def offers_commitment(self) -> bool:
        """Whether the peer accepted a context for storage commitment."""
        return self._context(STORAGE_COMMITMENT) is not None

    @property
    def offers_find(self) -> bool:
        """Whether the peer accepted a context for C-FIND."""
        return self._context(_FIND) is not None

    def request(self, transaction_uid: str, instances: Iterable[tuple[str, str]]) -> int:
        """Ask for the commitment of instances (SOP class, UID); returns the status, and the report comes later."""
        information = Dataset()
        information.TransactionUID = transaction_uid
        information.ReferencedSOPSequence = [_reference(*instance) for instance in instances]
        context = self._needed(STORAGE_COMMITMENT)
        return self._requestor.action(context, _INSTANCE, _REQUEST, _encoded(information, context))

    def await_report(self, wait_s: float) -> bool:
        """Take a report that comes on this association; false where none came in that time.

        Raises DestinationUnavailable where the peer ends the association.
        """
        return self._requestor.await_event(wait_s)

    def has(self, study: str, series: str, instance: str) -> bool:
        """Tell whether C-FIND finds an instance. Raises DestinationUnavailable where it fails."""
        keys = Dataset()
        keys.QueryRetrieveLevel = "IMAGE"
        keys.StudyInstanceUID, keys.SeriesInstanceUID, keys.SOPInstanceUID = study, series, instance
        context = self._needed(_FIND)
        answer, matches = self._requestor.find(context, _encoded(keys, context))
        if answer != status.SUCCESS:
            message = f"{self._peer} answered C-FIND with 0x{answer:04X}"
            raise DestinationUnavailable(message)
        try:
            return any(text(read(match, context[1], frozenset()), _FOUND_INSTANCE) == instance for match in matches)
        except MalformedDataSet as error:
            message = f"{self._peer} answered C-FIND with what cannot be read ({error})"
            raise DestinationUnavailable(message) from error

    def release(self) -> None:
        """End the association in order."""
        self._requestor.release()

    def abort(self) -> None:
        """End the association at once."""
        self._requestor.abort()

    def _on_event(self, event: Incoming) -> int:
        syntaxes = {number: context[1] for context, number in self._requestor.accepted.items()}
        report = Report(
            sop_class_uid=_uid(event.elements.get(0x0002, b"")),
            sop_instance_uid=_uid(event.elements.get(0x1000, b"")),
            event_type=event.number(0x1002),
            transfer_syntax_uid=syntaxes.get(event.context_id, ""),
            calling_ae=self._peer.ae_title,
            dataset=event.dataset,
        )
        return self._take(report)

    def _context(self, sop_class: str) -> Context | None:
        return next((context for context in self._requestor.accepted if context[0] == sop_class), None)

    def _needed(self, sop_class: str) -> Context:
        context = self._context(sop_class)
        if context is None:
            message = f"{self._peer} accepted no context for {sop_class}"
            raise DestinationUnavailable(message)
        return context


@contextmanager
def open_inquiry(
    peer: Peer, calling_ae: str, take: Callable[[Report], int], *, commitment: bool, find: bool
) -> Iterator[Inquiry]:
    """Yield an association that proposed storage commitment, C-FIND or both; released at the end.

    take: is given each report that comes on it, and returns its status. Raises DestinationUnavailable where there is
    no association, naming what to check.
    """
    wanted = [uid for uid, is_wanted in ((STORAGE_COMMITMENT, commitment), (_FIND, find)) if is_wanted]
    inquiry = Inquiry(peer, calling_ae, wanted, take)
    try:
        yield inquiry
    except BaseException:
        inquiry.abort()
        raise
    inquiry.release()


def _reference(sop_class: str, sop_instance: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_instance
    return item


def _encoded(dataset: Dataset, context: Context) -> bytes:
    encoded = encode(dataset, context[1] == IMPLICIT_LITTLE, context[1] in {IMPLICIT_LITTLE, EXPLICIT_LITTLE})
    if encoded is None:
        message = "a request cannot be encoded: look at the UIDs of the result"
        raise DestinationUnavailable(message)
    return encoded


def _uid(value: bytes) -> str:
    return value.decode("ascii", "replace").rstrip("\0 ")
