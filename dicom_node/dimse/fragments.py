"""The stream of presentation data values (PS3.8 9.3.5, E) on an association, with its deadlines and caps."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dicom_node.dimse.pdu import ABORT, ASSOCIATE_RQ, HEADER, LAST, P_DATA, PDV_HEADER, AbortReason, ProtocolViolation
from dicom_node.dimse.wire import HungUp, Stalled

if TYPE_CHECKING:
    from dicom_node.dimse.wire import Wire

_PDV_LENGTH = 4  # the length field itself is not counted in it


@dataclass(frozen=True, slots=True)
class Pace:
    """How slow a peer may be: seconds without any byte, seconds a PDU, and bytes a second over a window of seconds."""

    idle_s: float = 30.0
    pdu_s: float = 10.0
    floor_bytes_s: float = 8000.0
    floor_window_s: float = 30.0


class Fragments:
    """Reads fragment after fragment. `context_id` and `control` are of the one that `take` returned last."""

    def __init__(self, wire: Wire, max_pdu: int, pace: Pace) -> None:
        self._wire = wire
        self._max_pdu = max_pdu
        self._pace = pace
        self._pdu_left = 0  # of the current PDU, behind the current PDV
        self._pdv_left = 0
        self._in_pdv = False
        self._began = 0.0  # when the current PDU began
        self._window_at, self._window_from, self._taken = 0.0, 0, 0
        self.context_id = self.control = 0

    @property
    def in_pdu(self) -> bool:
        """Tell whether a PDU has begun and not ended."""
        return self._in_pdv or self._pdu_left > 0

    @property
    def is_last(self) -> bool:
        """Tell whether what `take` returned last ends a command set or a data set."""
        return not self._in_pdv and bool(self.control & LAST)

    def begin(self) -> None:
        """Start to watch the pace of a new message."""
        self._began = self._window_at = time.monotonic()
        self._window_from = self._taken

    def take(self) -> memoryview | None:
        """Return the next piece of a fragment from what is buffered; None where more must be read first.

        Raises ProtocolViolation, and HungUp where the peer aborts.
        """
        wire = self._wire
        if not self._in_pdv and not self._next_header():
            return None
        count = min(self._pdv_left, wire.buffered)
        if not count and self._pdv_left:
            return None
        self._pdv_left -= count
        self._taken += count
        if not self._pdv_left:
            self._in_pdv = False
            if not self._pdu_left:
                self._began = time.monotonic()
        return wire.take(count)

    def fill(self) -> None:
        """Read more. Raises HungUp, or Stalled where the peer is too slow for a PDU or for the whole."""
        now = time.monotonic()
        self._check_floor(now)
        if self.in_pdu or self._wire.buffered:
            self._wire.fill(self._began + self._pace.pdu_s)
        else:
            self._wire.fill(now + self._pace.idle_s)
            self._began = time.monotonic()

    def _check_floor(self, now: float) -> None:
        elapsed = now - self._window_at
        if elapsed < self._pace.floor_window_s:
            return
        if self._taken - self._window_from < self._pace.floor_bytes_s * elapsed:
            message = f"slower than {self._pace.floor_bytes_s:.0f} bytes a second"
            raise Stalled(message)
        self._window_at, self._window_from = now, self._taken

    def _next_header(self) -> bool:
        """Read the header of the next PDV, and of the next PDU where one ends; False where they are not there yet."""
        wire = self._wire
        if not self._pdu_left:
            if wire.buffered < HEADER.size:
                return False
            kind, length = HEADER.unpack_from(wire.view, wire.start)
            self._check_pdu(kind, length)
            wire.start += HEADER.size
            self._pdu_left, self._began = length, time.monotonic()
        if wire.buffered < PDV_HEADER.size:
            return False
        length, self.context_id, self.control = PDV_HEADER.unpack_from(wire.view, wire.start)
        if length < PDV_HEADER.size - _PDV_LENGTH or length + _PDV_LENGTH > self._pdu_left:
            message = "a presentation data value is longer than its PDU, or too short"
            raise ProtocolViolation(message)
        wire.start += PDV_HEADER.size
        self._pdu_left -= length + _PDV_LENGTH
        self._pdv_left = length - (PDV_HEADER.size - _PDV_LENGTH)
        self._in_pdv = True
        if 0 < self._pdu_left < PDV_HEADER.size:
            message = "a PDU ends inside a presentation data value"
            raise ProtocolViolation(message)
        return True

    def _check_pdu(self, kind: int, length: int) -> None:
        if kind == ABORT:
            message = "aborted"
            raise HungUp(message)
        if kind != P_DATA:
            raise unexpected(kind)
        if not PDV_HEADER.size <= length <= self._max_pdu:
            message = "a P-DATA PDU is longer than agreed on, or too short"
            raise ProtocolViolation(message)


def unexpected(kind: int) -> ProtocolViolation:
    """Return what to raise over a PDU type that may not come now, or does not exist."""
    if ASSOCIATE_RQ <= kind <= ABORT:
        return ProtocolViolation("a PDU came that may not come now", AbortReason.UNEXPECTED_PDU)
    return ProtocolViolation("a PDU of an unknown type came", AbortReason.UNRECOGNISED_PDU)
