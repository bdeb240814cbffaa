"""The Storage and Verification SCU: sends objects to a destination over one association."""

from __future__ import annotations

import logging
import socket
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydicom import dcmread
from pynetdicom import AE, _config
from pynetdicom.dul import DULServiceProvider
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at run time

from dicom_node.core.errors import DestinationRefused, DestinationUnavailable
from dicom_node.dimse import status

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pynetdicom.association import Association

_MAX_CONTEXTS = 128  # PS3.8 9.3.2: presentation context IDs are the odd numbers from 1 to 255


@dataclass(frozen=True, slots=True)
class Peer:
    """A destination's AE title and address; timeout_s bounds connecting, each send and each answer."""

    ae_title: str
    host: str
    port: int
    timeout_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A Part 10 file to send."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    path: Path


def echo(peer: Peer, calling_ae: str) -> None:
    """Verify that a destination answers C-ECHO. Raises DestinationUnavailable, naming what to check."""
    with _association(peer, calling_ae, [(Verification, "1.2.840.10008.1.2")]) as association:
        answer = association.send_c_echo()
        if "Status" not in answer or answer.Status != status.SUCCESS:
            message = f"{_name(peer)} did not answer C-ECHO"
            raise DestinationUnavailable(message)


def send(peer: Peer, calling_ae: str, objects: Sequence[Outgoing]) -> None:
    """Send objects in their order over one association; returns once every one of them is stored.

    Raises DestinationUnavailable where trying again later may help, DestinationRefused where it will not.
    """
    contexts = list(dict.fromkeys((item.sop_class_uid, item.transfer_syntax_uid) for item in objects))[:_MAX_CONTEXTS]
    with _association(peer, calling_ae, contexts) as association:
        for item in objects:
            _store(association, peer, item)


def _store(association: Association, peer: Peer, item: Outgoing) -> None:
    accepted = {(context.abstract_syntax, context.transfer_syntax[0]) for context in association.accepted_contexts}
    if (item.sop_class_uid, item.transfer_syntax_uid) not in accepted:
        message = f"{_name(peer)} does not accept SOP class {item.sop_class_uid} in {item.transfer_syntax_uid}"
        raise DestinationRefused(message)
    answer = association.send_c_store(dcmread(item.path))
    if "Status" not in answer:
        message = f"{_name(peer)} gave no answer to C-STORE of {item.sop_instance_uid}"
        raise DestinationUnavailable(message)
    if status.is_stored(answer.Status):
        return
    message = f"{_name(peer)} answered C-STORE of {item.sop_instance_uid} with 0x{answer.Status:04X}"
    if status.may_pass(answer.Status):
        raise DestinationUnavailable(message)
    raise DestinationRefused(message)


@contextmanager
def _association(peer: Peer, calling_ae: str, contexts: Sequence[tuple[str, str]]) -> Iterator[Association]:
    _config.LOG_HANDLER_LEVEL = "none"
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    ae = AE(ae_title=calling_ae)
    ae.connection_timeout = ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = peer.timeout_s
    for sop_class_uid, transfer_syntax_uid in contexts:
        ae.add_requested_context(sop_class_uid, transfer_syntax_uid)
    try:
        association = ae.associate(peer.host, peer.port, ae_title=peer.ae_title)
    except BaseException:
        _end_threads(ae)
        raise
    if not association.is_established:
        rejected = association.is_rejected
        message = (
            f"{_name(peer)} rejected the association: check the AE titles at both ends"
            if rejected
            else f"{_name(peer)} cannot be reached: check that it runs and that host and port are right"
        )
        raise DestinationUnavailable(message)
    try:
        _bound_writes(association, peer.timeout_s)
        yield association
    except BaseException:
        association.abort()
        raise
    association.release()


def _end_threads(ae: AE) -> None:
    """End what an interrupted request has begun: its thread is no daemon and would keep the process alive for ever."""
    for thread in threading.enumerate():
        if isinstance(thread, DULServiceProvider) and thread.assoc.ae is ae:
            thread.kill_dul()


def _bound_writes(association: Association, timeout_s: float) -> None:
    """Give the socket a time-out: a peer that accepts and then stops reading would block C-STORE for ever."""
    sock = association.dul.socket.socket if association.dul.socket else None
    if sock is not None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(timeout_s)


def _name(peer: Peer) -> str:
    return f"{peer.ae_title} at {peer.host}:{peer.port}"
