"""HL7 v2 over MLLP: one message, one acknowledgement, over one connection."""

from __future__ import annotations

import re
import socket
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from dicom_node.core.delivery import Receipt, SlotSent
from dicom_node.core.errors import DestinationUnavailable
from dicom_node.deliver import oru
from dicom_node.deliver.brief import read_summary

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dicom_node.deliver.parcel import Parcel
    from dicom_node.destination_settings import Hl7Destination

_START, _END = b"\x0b", b"\x1c\r"
_LARGEST_ANSWER = 1 << 20
_STORED, _LATER = {"AA", "CA"}, {"AE", "CE"}
_CODES = _STORED | _LATER | {"AR", "CR", ""}  # any other may be anybody's words, and is not repeated
_SLOT = "hl7"


class MllpSession:
    """A connection to a system that takes HL7 messages."""

    def __init__(self, destination: Hl7Destination, calling_ae: str, sock: socket.socket) -> None:
        self._destination = destination
        self._calling_ae = calling_ae
        self._socket = sock
        self._received = b""

    @property
    def accepted(self) -> frozenset[tuple[str, str]]:
        """Nothing: no SOP instances go here."""
        return frozenset()

    def deliver(self, parcel: Parcel) -> Receipt:
        """Send a result and wait for its acknowledgement: AA is stored, AE is tried again, AR is for a person."""
        result = read_summary(parcel.folder)
        content = oru.message(result, self._destination, self._calling_ae)
        try:
            self._socket.settimeout(self._destination.timeout_s)
            self._socket.sendall(_START + content + _END)
            code, answered = self._acknowledgement()
        except OSError as error:
            self._lose(f"broke the connection ({type(error).__name__})")
        if answered != oru.control_id(result):
            self._lose("acknowledged another message than it was sent")
        if code in _STORED:
            return Receipt((SlotSent(_SLOT, None, 0, f"acknowledged with {code}"),))
        if code in _LATER:
            self._lose(f"acknowledged with {code}: it could not take the message now")
        refused = (
            f"{self._destination.name} acknowledged with {code or 'nothing'}: look at its log, and at MSH-5 and MSH-6"
        )
        return Receipt((SlotSent(_SLOT, None, None, f"refused with {code}"),), refused)

    def _acknowledgement(self) -> tuple[str, str]:
        """Return code and control ID of the next acknowledgement (MSA-1, MSA-2)."""
        deadline = time.monotonic() + self._destination.timeout_s
        while _END not in self._received:
            left = deadline - time.monotonic()
            if left <= 0 or len(self._received) > _LARGEST_ANSWER:
                self._lose("gave no acknowledgement in time")
            self._socket.settimeout(left)
            part = self._socket.recv(1 << 16)
            if not part:
                self._lose("closed the connection without an acknowledgement")
            self._received += part
        frame, _, self._received = self._received.partition(_END)
        text = frame.rpartition(_START)[2].decode(oru.ENCODINGS[self._destination.charset], errors="replace")
        fields = oru.components_of(re.split(r"[\r\n]+", text), "MSA")
        if len(fields) < 3:  # noqa: PLR2004 - MSA, code, control ID
            self._lose("answered with no acknowledgement")
        code = fields[1].strip()
        return code if code in _CODES else "an unknown code", fields[2].strip()

    def _lose(self, what: str) -> NoReturn:
        message = f"{self._destination.name} {what}"
        raise DestinationUnavailable(message)


@contextmanager
def open_mllp(destination: Hl7Destination, calling_ae: str) -> Iterator[MllpSession]:
    """Yield a connection. Raises DestinationUnavailable where there is none."""
    address = (destination.host, destination.port)
    try:
        sock = socket.create_connection(address, timeout=destination.timeout_s)
    except (OSError, UnicodeError) as error:
        message = f"{destination.name} at {address[0]}:{address[1]} cannot be reached ({type(error).__name__})"
        raise DestinationUnavailable(message) from error
    with sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield MllpSession(destination, calling_ae, sock)
