"""One version of a result as it is handed to a destination."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from dicom_node.core.delivery import Receipt
    from dicom_node.dimse.scu import Outgoing


@dataclass(frozen=True, slots=True)
class Offer:
    """One object of a result; those that share a slot are alternatives, best first. position: its row in the ledger."""

    position: int
    slot: str
    item: Outgoing


@dataclass(frozen=True, slots=True)
class Parcel:
    """A published version: its folder, and its objects in sending order."""

    study_instance_uid: str
    version: int
    folder: Path
    offers: tuple[Offer, ...]


class Session(Protocol):
    """An open connection to a destination, over which several results may go one after the other."""

    @property
    def accepted(self) -> frozenset[tuple[str, str]]:
        """The SOP classes and transfer syntaxes that the destination said it takes; none where it does not say."""

    def deliver(self, parcel: Parcel) -> Receipt:
        """Hand over one result.

        Raises DestinationUnavailable where the same may succeed later.
        """
