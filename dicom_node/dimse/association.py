"""One association, in a thread of its own: from the accepted socket to its end (PS3.8 9.2, the acceptor's states)."""

from __future__ import annotations

import ssl
import time
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import structlog

from dicom_node.core.identifiers import is_usable_uid
from dicom_node.dimse import command as dimse
from dicom_node.dimse import pdu
from dicom_node.dimse.fragments import Fragments, unexpected
from dicom_node.dimse.messages import Messages
from dicom_node.dimse.negotiation import Agreement, check_request, negotiate
from dicom_node.dimse.pdu import ProtocolViolation, Rejection
from dicom_node.dimse.peers import printable_title
from dicom_node.dimse.wire import HungUp, Stalled, Wire

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from dicom_node.dimse.admission import Admission
    from dicom_node.dimse.peers import AllowedPeer, AllowList
    from dicom_node.dimse.scp_settings import ScpSettings
    from dicom_node.dimse.services import Services

log = structlog.get_logger(__name__)

MAX_PDU = 128 * 1024  # larger PDUs are fewer: 25 % more throughput than 16 KiB, measured
_LAST_WORD_S = 1.0
_NO_SEAT = (2, 3, 2)  # rejected transient, by the presentation layer: local limit exceeded (PS3.8 9.3.4)


class Phase(Enum):
    """What an association is doing, for the one who has to end it."""

    OPENING = "opening"
    WAITING = "waiting"
    RECEIVING = "receiving"
    STORING = "storing"


@dataclass(frozen=True, slots=True)
class House:
    """What all associations of one SCP share."""

    settings: ScpSettings
    services: Services
    admission: Admission[Association]
    allowed: AllowList
    tls: ssl.SSLContext | None
    accepting: Callable[[], bool] = lambda: True


class Association:
    """An accepted connection; `run` lives as long as it does."""

    def __init__(self, sock: socket.socket, address: str, house: House) -> None:
        self.address = address
        self.entered_at = time.monotonic()
        self.phase = Phase.OPENING
        self._house = house
        self._wire = Wire(sock)
        self._draining = False
        self._calling_ae = ""

    @property
    def received(self) -> int:
        """Bytes received so far: whether it moves."""
        return self._wire.received

    @property
    def is_receiving(self) -> bool:
        """Tell whether it is the peer that is waited for, in the middle of a message."""
        return self.phase is Phase.RECEIVING

    def hang_up(self) -> None:
        """End it from another thread, without a word."""
        self._wire.hang_up()

    def drain(self) -> None:
        """End it from another thread as soon as no instance is on its way."""
        self._draining = True
        if self.phase in {Phase.OPENING, Phase.WAITING}:
            self.hang_up()

    def run(self) -> None:
        """Serve the peer until either side ends it; nothing that the peer sends can raise."""
        linger = True
        try:
            self._serve(self._open())
        except HungUp as ending:
            linger = False
            log.debug("association.ended", **self._who(), reason=str(ending))
        except Stalled as ending:
            linger = False
            # Before there is an association the connection is just closed (PS3.8 9.2.3, AA-2).
            word = b"" if self.phase is Phase.OPENING else pdu.encode_abort(2, pdu.AbortReason.NOT_SPECIFIED)
            self._refuse("stalled", str(ending), word)
        except Rejection as rejection:
            self._refuse("rejected", str(rejection), rejection.encode())
        except ProtocolViolation as violation:
            self._refuse("violation", str(violation), pdu.encode_abort(2, violation.reason))
        except ssl.SSLError as error:
            linger = False
            self._refuse("tls", error.reason or type(error).__name__, b"")
        except Exception:  # hostile bytes must not end the process, whatever they find
            log.exception("association.failed", **self._who())
            self._send_last(pdu.encode_abort(2, pdu.AbortReason.NOT_SPECIFIED))
        finally:
            self._house.admission.leave(self)
            self._wire.close(linger=linger)

    def _open(self) -> Messages:
        """Speak TLS where that is on, and answer the association request. Raises Rejection."""
        house, settings = self._house, self._house.settings
        deadline = self.entered_at + settings.request_timeout_s
        fingerprint = self._wire.handshake(house.tls, deadline) if house.tls is not None else None
        body = self._request_body(deadline)
        request = pdu.decode_request(body)
        self._calling_ae = request.calling_ae
        check_request(request, settings.ae_title)
        peer = house.allowed.admit(request.calling_ae, self.address, fingerprint)
        if self._wire.buffered:
            message = "something came behind A-ASSOCIATE-RQ before its answer"
            raise ProtocolViolation(message, pdu.AbortReason.UNEXPECTED_PDU)
        if not house.accepting():
            message = "no new association is taken now: the disk is nearly full or failed, or the queue is drained"
            raise Rejection(message, *_NO_SEAT)
        if not house.admission.seat(self):
            message = "as many associations as may be are open (node.max_associations)"
            raise Rejection(message, *_NO_SEAT)
        takes_reports = house.services.on_report is not None
        agreement = negotiate(request, peer, takes_reports=takes_reports)
        acceptance = pdu.encode_acceptance(body, agreement.answers, MAX_PDU, agreement.roles)
        self._wire.send(acceptance, time.monotonic() + settings.pace.pdu_s)
        self._log_acceptance(agreement, peer)
        return Messages(self._wire, Fragments(self._wire, MAX_PDU, settings.pace), agreement, request.max_length)

    def _request_body(self, deadline: float) -> bytes:
        wire = self._wire
        wire.need(pdu.HEADER.size, deadline)
        kind, length = pdu.HEADER.unpack_from(wire.view, wire.start)
        if kind == pdu.ABORT:
            message = "aborted"
            raise HungUp(message)
        if kind != pdu.ASSOCIATE_RQ:
            raise unexpected(kind)
        if length > pdu.MAX_ASSOCIATE_RQ:
            message = "A-ASSOCIATE-RQ is longer than any may be"
            raise ProtocolViolation(message)
        wire.take(pdu.HEADER.size)
        wire.need(length, deadline)
        return bytes(wire.take(length))

    def _serve(self, messages: Messages) -> None:
        """Answer message after message until the peer releases the association."""
        idle_s = self._house.settings.pace.idle_s
        while True:
            self.phase = Phase.WAITING
            if self._draining:
                self._send_last(pdu.encode_abort(0, 0))
                return
            if not self._wire.buffered:
                self._wire.fill(time.monotonic() + idle_s)
            self.phase = Phase.RECEIVING
            kind = self._next_kind()
            if kind == pdu.P_DATA:
                self._answer(messages)
            elif kind == pdu.RELEASE_RQ:
                self._house.admission.leave(self)  # the seat is free for who comes next, whenever the peer closes
                self._send_last(pdu.RELEASE_RESPONSE)
                log.debug("association.released", **self._who())
                return
            elif kind == pdu.ABORT:
                message = "aborted"
                raise HungUp(message)
            else:
                raise unexpected(kind)

    def _next_kind(self) -> int:
        """Return the type of the next PDU, of which at least one byte is there; all but P-DATA are read whole."""
        deadline = time.monotonic() + self._house.settings.pace.pdu_s
        self._wire.need(pdu.HEADER.size, deadline)
        kind, length = pdu.HEADER.unpack_from(self._wire.view, self._wire.start)
        if kind in {pdu.RELEASE_RQ, pdu.ABORT}:
            if length != 4:  # noqa: PLR2004 - PS3.8 9.3.6, 9.3.8
                message = "A-RELEASE-RQ or A-ABORT is of another length than it has"
                raise ProtocolViolation(message)
            self._wire.need(pdu.HEADER.size + length, deadline)
            self._wire.take(pdu.HEADER.size + length)
        return int(kind)

    def _answer(self, messages: Messages) -> None:
        """Receive one message, do what it asks, and answer it."""
        context_id, request = messages.command()
        context = messages.context(context_id)
        if request.is_response or request.field == dimse.Operation.C_CANCEL:
            messages.discard(request, self._house.settings.max_object_bytes)
            return
        services = self._house.services
        taker = services.taker(request, context, self._calling_ae, self.address)
        if request.has_data_set:
            messages.data_set(context_id, taker, self._house.settings.max_object_bytes)
        self.phase = Phase.STORING
        code, comment = taker.finish()
        messages.check_nothing_follows()
        response = dimse.encode_response(request, code, comment)
        messages.send(context_id, response, time.monotonic() + self._house.settings.pace.pdu_s)

    def _refuse(self, kind: str, reason: str, last_word: bytes) -> None:
        """Say once why the peer is turned away, and tell the peer in the protocol's words."""
        self._house.admission.count(kind)
        log.warning("association.refused", **self._who(), kind=kind, reason=reason)
        if last_word:
            self._send_last(last_word)

    def _send_last(self, word: bytes) -> None:
        with suppress(HungUp, Stalled):
            self._wire.send(word, time.monotonic() + _LAST_WORD_S)

    def _who(self) -> dict[str, str]:
        return {"calling_ae": printable_title(self._calling_ae), "peer": self.address}

    def _log_acceptance(self, agreement: Agreement, peer: AllowedPeer | None) -> None:
        """Log an association, and each class it asked for that gets no context: it gets no status either."""
        log.debug("association.accepted", **self._who())
        for uid in agreement.refused_classes:
            name = uid if is_usable_uid(uid) else "(not a UID)"
            reason = "not a storage SOP class" if peer is None or peer.takes(uid) else "not of this peer's sop_classes"
            log.warning("context.rejected", calling_ae=printable_title(self._calling_ae), sop_class=name, reason=reason)
