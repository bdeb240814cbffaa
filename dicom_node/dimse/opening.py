"""Reaching a peer: its address, the connection to it, and the A-ASSOCIATE-RQ, which pynetdicom encodes."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydicom import config
from pydicom.uid import UID
from pynetdicom import build_context
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import A_ASSOCIATE, ImplementationClassUIDNotification, MaximumLengthNotification

from dicom_node.core.errors import DestinationUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

Context = tuple[str, str]
"""SOP class and transfer syntax: what is proposed, one presentation context for each."""

MAX_CONTEXTS = 128  # PS3.8 9.3.2: presentation context IDs are the odd numbers from 1 to 255
_APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
_IMPLEMENTATION_CLASS_UID = "2.25.218327492316450712363571604125893610113"
_OUR_MAXIMUM = 16384


@dataclass(frozen=True, slots=True)
class Peer:
    """A destination's AE title and address; timeout_s bounds connecting, each send and each answer."""

    ae_title: str
    host: str
    port: int
    timeout_s: float = 30.0
    tls: ssl.SSLContext | None = None

    def __str__(self) -> str:
        return f"{self.ae_title} at {self.host}:{self.port}"


def connect(peer: Peer) -> socket.socket:
    """Return a connection to a peer, encrypted where it has TLS. Raises DestinationUnavailable: what to check."""
    plain = None
    try:
        plain = socket.create_connection((peer.host, peer.port), timeout=peer.timeout_s)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return peer.tls.wrap_socket(plain, server_hostname=peer.host) if peer.tls else plain
    except (OSError, UnicodeError) as error:
        if plain is not None:
            plain.close()
        if isinstance(error, ssl.SSLError):
            cause = getattr(error, "verify_message", "") or error.reason or type(error).__name__
            message = f"{peer} and we agree on no TLS ({cause}): check its certificate, ours, and who vouches for each"
        else:
            cause = "nobody knows its name" if isinstance(error, socket.gaierror) else type(error).__name__
            message = f"{peer} cannot be reached ({cause}): check that it runs and that host and port are right"
        raise DestinationUnavailable(message) from error


def associate_request(peer: Peer, calling_ae: str, contexts: Sequence[Context]) -> bytes:
    """Return an A-ASSOCIATE-RQ with one presentation context for each pair, so that each is answered by itself."""
    request = A_ASSOCIATE()
    request.application_context_name = _uid(_APPLICATION_CONTEXT)
    request.calling_ae_title, request.called_ae_title = calling_ae, peer.ae_title
    maximum, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    maximum.maximum_length_received = _OUR_MAXIMUM
    implementation.implementation_class_uid = _uid(_IMPLEMENTATION_CLASS_UID)
    request.user_information = [maximum, implementation]
    proposed = [build_context(_uid(sop_class), [_uid(syntax)]) for sop_class, syntax in contexts[:MAX_CONTEXTS]]
    for number, context in enumerate(proposed):
        context.context_id = 2 * number + 1
    request.presentation_context_definition_list = proposed
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(request)
    return pdu.encode()


def _uid(text: str) -> UID:
    """Return a UID as it is written: private and odd ones must reach the wire as they are."""
    return UID(text, validation_mode=config.IGNORE)
