"""DIMSE messages on an open association (PS3.7 6.3): a command set and, where it says so, a data set behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from dicom_node.dimse import command as dimse
from dicom_node.dimse.pdu import COMMAND, P_DATA, AbortReason, ProtocolViolation, encode_command
from dicom_node.dimse.wire import HungUp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dicom_node.dimse.fragments import Fragments
    from dicom_node.dimse.negotiation import Agreement, Context
    from dicom_node.dimse.wire import Wire


class Taker(Protocol):
    """Takes the data set of one message and knows the answer."""

    def write(self, pieces: Sequence[memoryview]) -> None:
        """Take the next pieces; they are only valid during the call."""

    def finish(self) -> tuple[int, str]:
        """Return the status for the peer and an Error Comment."""

    def abort(self) -> None:
        """Drop what came: the message will not be whole."""


class _Nowhere:
    def write(self, pieces: Sequence[memoryview]) -> None:
        """Drop them."""

    def finish(self) -> tuple[int, str]:
        return 0, ""

    def abort(self) -> None:
        """Nothing was kept."""


class Messages:
    """The messages that the peer sends, one after the other, and our answers."""

    def __init__(self, wire: Wire, fragments: Fragments, agreement: Agreement, peer_max_length: int) -> None:
        self._wire = wire
        self._fragments = fragments
        self._agreement = agreement
        self._peer_max_length = peer_max_length

    def context(self, context_id: int) -> Context:
        """Return an accepted presentation context. Raises ProtocolViolation where it is none."""
        found = self._agreement.contexts.get(context_id)
        if found is None:
            message = "a message came on a presentation context that was not accepted"
            raise ProtocolViolation(message)
        return found

    def command(self) -> tuple[int, dimse.Command]:
        """Receive a command set; returns it with the number of its presentation context."""
        fragments, parts, size = self._fragments, [], 0
        fragments.begin()
        while True:
            piece = fragments.take()
            if piece is None:
                fragments.fill()
                continue
            size += len(piece)
            if not fragments.control & COMMAND or size > dimse.MAX_COMMAND:
                message = "a message begins with something else than a command set, or with too long a one"
                raise ProtocolViolation(message)
            parts.append(bytes(piece))
            if fragments.is_last:
                return fragments.context_id, dimse.decode(b"".join(parts))

    def data_set(self, context_id: int, taker: Taker, limit: int) -> None:
        """Receive a data set piece by piece: as many as one read brought go to the taker at once.

        Raises ProtocolViolation where it is longer than `limit` bytes or not a data set; then the taker has dropped it.
        """
        try:
            self._data_set(context_id, taker, limit)
        except BaseException:
            taker.abort()
            raise

    def _data_set(self, context_id: int, taker: Taker, limit: int) -> None:
        fragments, size = self._fragments, 0
        pieces: list[memoryview] = []
        while True:
            piece = fragments.take()
            if piece is None:
                if pieces:
                    taker.write(pieces)
                    pieces = []
                fragments.fill()
                continue
            if fragments.control & COMMAND or fragments.context_id != context_id:
                message = "a data set is interrupted by another message"
                raise ProtocolViolation(message)
            size += len(piece)
            if size > limit:
                message = f"a data set is larger than {limit >> 20} MiB (node.max_object_mib)"
                raise ProtocolViolation(message, AbortReason.NOT_SPECIFIED)
            if piece:
                pieces.append(piece)
            if fragments.is_last:
                taker.write(pieces)
                return

    def discard(self, request: dimse.Command, limit: int) -> None:
        """Receive and drop the data set of a message that nobody answers."""
        if request.has_data_set:
            self.data_set(self._fragments.context_id, _Nowhere(), limit)

    def check_nothing_follows(self) -> None:
        """Hold the peer to one request at a time, as agreed on by silence (PS3.7 D.3.3.3). Raises ProtocolViolation."""
        wire = self._wire
        try:
            wire.read_ahead()
        except HungUp:
            return  # sending the answer will tell
        if self._fragments.in_pdu or (wire.buffered and wire.view[wire.start] == P_DATA):
            message = "a second request came before the first was answered"
            raise ProtocolViolation(message)

    def send(self, context_id: int, response: bytes, deadline: float) -> None:
        """Send a command set on a context."""
        self._wire.send(encode_command(context_id, response, self._peer_max_length), deadline)
