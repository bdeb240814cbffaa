"""A PACS by DICOMweb STOW-RS (PS3.18 10.5): there is no negotiation, so the answer says which rung was too high."""

from __future__ import annotations

import json
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dicom_node.core.delivery import Receipt, SlotSent
from dicom_node.core.errors import DestinationUnavailable
from dicom_node.deliver import ladder
from dicom_node.deliver.web import Web, open_web
from dicom_node.dimse import status

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dicom_node.deliver.parcel import Offer, Parcel
    from dicom_node.destination_settings import DicomwebDestination

_OK, _ACCEPTED, _CONFLICT, _TOO_LARGE, _UNSUPPORTED = 200, 202, 409, 413, 415
_REFERENCED_SOP_INSTANCE_UID, _FAILURE_REASON = "00081155", "00081197"
_FAILED_SOP, _REFERENCED_SOP = "00081198", "00081199"
_UNKNOWN = status.CANNOT_UNDERSTAND


class StowSession:
    """Requests to a DICOMweb server."""

    def __init__(self, destination: DicomwebDestination, web: Web) -> None:
        self._destination = destination
        self._web = web

    @property
    def accepted(self) -> frozenset[tuple[str, str]]:
        """Nothing: a DICOMweb server does not say beforehand what it takes."""
        return frozenset()

    def deliver(self, parcel: Parcel) -> Receipt:
        """Store a result in one request; what is refused in it follows one rung lower, each rung once."""
        climbs = [_Climb(slot, offers) for slot, offers in ladder.slots(self._wanted(parcel))]
        while pending := [climb for climb in climbs if climb.is_pending]:
            refusal = self._store(parcel, pending)
            if refusal is not None:
                return Receipt(tuple(climb.sent() for climb in climbs), refusal)
        return ladder.judge(tuple(climb.sent() for climb in climbs), self._destination.name)

    def _wanted(self, parcel: Parcel) -> list[Offer]:
        choice = self._destination.transfer_syntax

        def may_go(offer: Offer) -> bool:
            native = offer.item.transfer_syntax_uid in ladder.NATIVE
            return ladder.what_is(offer.slot) != "sc" or choice == "auto" or native == (choice == "uncompressed")

        offers = ladder.wanted(parcel.offers, self._destination.sr_class, self._destination.presentation_states)
        return [offer for offer in offers if may_go(offer)]

    def _store(self, parcel: Parcel, pending: list[_Climb]) -> str | None:
        """Store the next rung of each slot; returns what a person must look at where the whole request is refused."""
        boundary = uuid.uuid4().hex
        parts: list[bytes | Path] = []
        for climb in pending:
            # Without its transfer syntax, which the file's meta information names: Orthanc takes this header literally.
            head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n"
            parts += [head.encode(), climb.offer.item.path, b"\r\n"]
        parts.append(f"--{boundary}--\r\n".encode())
        kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
        headers = {"Content-Type": kind, "Accept": "application/dicom+json"}
        answer = self._web.request("POST", f"/studies/{parcel.study_instance_uid}", parts, headers)
        if answer.status in {_OK, _ACCEPTED, _CONFLICT}:
            self._take(pending, _answers(answer.body), status.SUCCESS if answer.status == _OK else _UNKNOWN)
        elif answer.status in {_UNSUPPORTED, _TOO_LARGE} and len(pending) > 1:
            for climb in pending:  # one at a time, to learn which of them it is
                refusal = self._store(parcel, [climb])
                if refusal is not None:
                    return refusal
        elif answer.status == _UNSUPPORTED:
            pending[0].answered(status.CLASS_NOT_SUPPORTED)
        else:
            return self._web.refusal(answer)
        return None

    def _take(self, pending: list[_Climb], answers: dict[str, int] | None, otherwise: int) -> None:
        """Note what became of each instance; otherwise: of all, where the answer has no lists that can be read."""
        for climb in pending:
            answer = otherwise if answers is None else answers.get(climb.offer.item.sop_instance_uid, _UNKNOWN)
            if status.may_pass(answer):
                message = f"{self._destination.name}: {ladder.name_of(climb.offer)} answered with 0x{answer:04X}"
                raise DestinationUnavailable(message)
            climb.answered(answer)


class _Climb:
    """One slot on its way down the ladder."""

    def __init__(self, slot: str, offers: list[Offer]) -> None:
        self._slot = slot
        self._left = offers
        self._stored: int | None = None
        self._status: int | None = None
        self._notes: list[str] = []

    @property
    def is_pending(self) -> bool:
        """Whether there is another rung to try."""
        return self._stored is None and bool(self._left)

    @property
    def offer(self) -> Offer:
        """The next rung."""
        return self._left[0]

    def answered(self, answer: int) -> None:
        """Note what became of the rung that was sent."""
        offer, self._status = self._left[0], answer
        if status.is_stored(answer):
            self._stored = offer.position
            return
        self._notes.append(f"{ladder.name_of(offer)} answered with 0x{answer:04X}")
        self._left = self._left[1:] if status.wants_another(answer) else []

    def sent(self) -> SlotSent:
        """Return what the server has of this slot."""
        return SlotSent(self._slot, self._stored, self._status, "; ".join(self._notes))


@contextmanager
def open_stow(destination: DicomwebDestination) -> Iterator[StowSession]:
    """Yield a connection to a DICOMweb server."""
    with open_web(destination) as web:
        yield StowSession(destination, web)


def _answers(body: bytes) -> dict[str, int] | None:
    """Return the status of each instance in a store response (PS3.18 I.2), None where it has no lists.

    An instance in neither list was not stored, whatever the HTTP status says.
    """
    try:
        response: Any = json.loads(body)
        if _REFERENCED_SOP not in response and _FAILED_SOP not in response:
            return None
        stored = {_uid(item): status.SUCCESS for item in response.get(_REFERENCED_SOP, {}).get("Value", [])}
        failed = response.get(_FAILED_SOP, {}).get("Value", [])
        return stored | {_uid(item): int(item.get(_FAILURE_REASON, {}).get("Value", [_UNKNOWN])[0]) for item in failed}
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        return None


def _uid(item: Any) -> str:
    return str(item[_REFERENCED_SOP_INSTANCE_UID]["Value"][0])
