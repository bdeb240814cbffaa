"""Which alternative of each slot a destination gets: the first that it takes, tried at most once each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dicom_node.core.delivery import Receipt, SlotSent
from dicom_node.core.errors import DestinationUnavailable
from dicom_node.dimse import status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from dicom_node.deliver.parcel import Offer
    from dicom_node.destination_settings import SrChoice

_SR = "1.2.840.10008.5.1.4.1.1.88."
SR_CLASSES = {
    "comprehensive-3d": f"{_SR}34",
    "comprehensive": f"{_SR}33",
    "enhanced": f"{_SR}22",
    "basic-text": f"{_SR}11",
}
NATIVE = frozenset({"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"})
_NAMES = {
    f"{_SR}34": "Comprehensive 3D SR",
    f"{_SR}33": "Comprehensive SR",
    f"{_SR}22": "Enhanced SR",
    f"{_SR}11": "Basic Text SR",
    "1.2.840.10008.5.1.4.1.1.7": "Secondary Capture",
    "1.2.840.10008.5.1.4.1.1.11.1": "Presentation State",
}


def what_is(slot: str) -> str:
    """Return what a slot holds: "sc", "pr" or "sr"."""
    return slot.partition("-")[0]


def wanted(offers: Iterable[Offer], sr_class: SrChoice, presentation_states: str) -> tuple[Offer, ...]:
    """Return the offers that the settings of a destination let it have, in their order."""
    only = SR_CLASSES.get(sr_class)

    def may_go(offer: Offer) -> bool:
        if what_is(offer.slot) == "sr":
            return sr_class != "none" and (only is None or offer.item.sop_class_uid == only)
        return what_is(offer.slot) != "pr" or presentation_states != "none"

    return tuple(offer for offer in offers if may_go(offer))


def slots(offers: Iterable[Offer]) -> Iterator[tuple[str, list[Offer]]]:
    """Yield each slot with its alternatives, in sending order."""
    found: dict[str, list[Offer]] = {}
    for offer in offers:
        found.setdefault(offer.slot, []).append(offer)
    yield from found.items()


def climb(
    offers: Iterable[Offer], takes: Callable[[Offer], bool], store: Callable[[Offer], int]
) -> tuple[SlotSent, ...]:
    """Send the best alternative of each slot that a destination takes, each at most once; returns what it has now.

    Raises DestinationUnavailable where an answer says that the same object may be stored later.
    """
    return tuple(_fill(slot, alternatives, takes, store) for slot, alternatives in slots(offers))


def _fill(
    slot: str, alternatives: list[Offer], takes: Callable[[Offer], bool], store: Callable[[Offer], int]
) -> SlotSent:
    refused: list[str] = []
    answer = None
    for offer in alternatives:
        if not takes(offer):
            continue
        answer = store(offer)
        if status.is_stored(answer):
            return SlotSent(slot, offer.position, answer, "; ".join(refused))
        said = f"{name_of(offer)} answered with 0x{answer:04X}"
        if status.may_pass(answer):
            raise DestinationUnavailable(said)
        refused.append(said)
        if not status.wants_another(answer):
            break
    return SlotSent(slot, None, answer, "; ".join(refused) or "not accepted")


def judge(sent: tuple[SlotSent, ...], destination: str) -> Receipt:
    """Return the receipt of what a destination has: refused where it has nothing, or answered with a lasting failure.

    A slot that it does not take at all is no failure as long as it has the pages or the report. Presentation states
    are never one: nothing is said in them alone.
    """
    if not any(one.position is not None and what_is(one.slot) != "pr" for one in sent):
        notes = "; ".join(dict.fromkeys(one.note for one in sent if one.note)) or "nothing may be sent there"
        return Receipt(
            sent, f"{destination} takes neither the report nor the heatmaps ({notes}): look at what it accepts"
        )
    failed = [one for one in sent if one.position is None and one.status is not None and what_is(one.slot) != "pr"]
    lasting = [one.note for one in failed if one.status != status.CLASS_NOT_SUPPORTED]
    return Receipt(sent, f"{destination}: {'; '.join(dict.fromkeys(lasting))}" if lasting else None)


def name_of(offer: Offer) -> str:
    """Return an object's SOP class in words."""
    return _NAMES.get(offer.item.sop_class_uid, offer.item.sop_class_uid)
