"""A PACS by C-STORE: everything proposed in one association, of each slot the best that was accepted is sent."""

from __future__ import annotations

import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dicom_node.core.errors import DestinationUnavailable
from dicom_node.deliver import ladder
from dicom_node.dimse import status
from dicom_node.dimse.scu import Context, Peer, open_sender

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dicom_node.core.delivery import Receipt
    from dicom_node.deliver.parcel import Offer, Parcel
    from dicom_node.destination_settings import DicomDestination
    from dicom_node.dimse.scu import Sender


class DicomSession:
    """An association with a PACS."""

    def __init__(self, destination: DicomDestination, sender: Sender) -> None:
        self._destination = destination
        self._sender = sender
        self._unsupported: set[Context] = set()

    @property
    def accepted(self) -> frozenset[Context]:
        """What the PACS accepted of what was proposed."""
        return self._sender.accepted - self._unsupported

    def deliver(self, parcel: Parcel) -> Receipt:
        """Send the best alternative of each slot; the same association is used for every rung."""
        try:
            sent = ladder.climb(_wanted(self._destination, parcel), self._takes, self._store)
        except DestinationUnavailable as error:
            message = f"{self._destination.name}: {error}"
            raise DestinationUnavailable(message) from error
        return ladder.judge(sent, self._destination.name)

    def _takes(self, offer: Offer) -> bool:
        return offer.item.context in self.accepted

    def _store(self, offer: Offer) -> int:
        answer = self._sender.store(offer.item)
        if answer == status.CLASS_NOT_SUPPORTED:
            self._unsupported.add(offer.item.context)
        return answer


@contextmanager
def open_dicom(destination: DicomDestination, calling_ae: str, parcels: Sequence[Parcel]) -> Iterator[DicomSession]:
    """Yield an association in which every alternative of every parcel was proposed."""
    peer = peer_of(destination)
    contexts = [offer.item.context for parcel in parcels for offer in _wanted(destination, parcel)]
    with open_sender(peer, calling_ae, contexts) as sender:
        yield DicomSession(destination, sender)


def peer_of(destination: DicomDestination) -> Peer:
    """Return a destination's address, with TLS where it has a CA file; the files are read anew.

    Raises DestinationUnavailable where one of them cannot be used: it may just be being renewed.
    """
    where = (destination.ae_title, destination.host, destination.port, destination.timeout_s)
    if destination.tls_ca_file is None:
        return Peer(*where)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = destination.tls_check_host
    try:
        context.load_verify_locations(destination.tls_ca_file)
        if destination.tls_certificate_file is not None:
            context.load_cert_chain(destination.tls_certificate_file, destination.tls_key_file, password="")
    except OSError as error:
        message = f"{destination.name}: the files of its TLS settings cannot be used ({type(error).__name__})"
        raise DestinationUnavailable(message) from error
    return Peer(*where, tls=context)


def _wanted(destination: DicomDestination, parcel: Parcel) -> tuple[Offer, ...]:
    return ladder.wanted(parcel.offers, destination.sr_class, destination.presentation_states)
