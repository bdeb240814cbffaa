"""The Storage and Verification SCU: sends objects to a destination over one association."""

from __future__ import annotations

import struct
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dicom_node.core.errors import DestinationRefused, DestinationUnavailable
from dicom_node.dimse import status
from dicom_node.dimse.requestor import Context, Peer, Requestor

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["Context", "Outgoing", "Peer", "Sender", "echo", "open_sender", "send"]

_VERIFICATION: Context = ("1.2.840.10008.1.1", "1.2.840.10008.1.2")
_META_LENGTH_AT = 132  # preamble and prefix; then (0002,0000) UL, PS3.10 7.1


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A Part 10 file to send."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    path: Path

    @property
    def context(self) -> Context:
        """What a peer must accept to be sent this file."""
        return (self.sop_class_uid, self.transfer_syntax_uid)


class Sender:
    """An open association over which objects are stored."""

    def __init__(self, peer: Peer, requestor: Requestor) -> None:
        self._peer = peer
        self._requestor = requestor

    @property
    def accepted(self) -> frozenset[Context]:
        """The contexts that the peer took, of those that were proposed."""
        return frozenset(self._requestor.accepted)

    def store(self, item: Outgoing) -> int:
        """Send a file whose context was accepted, its data set byte for byte; returns the status of the answer."""
        return self._requestor.store(item.context, item.sop_instance_uid, dataset_of(item.path))

    def echo(self) -> None:
        """Verify that the peer answers C-ECHO. Raises DestinationUnavailable where it does not."""
        if _VERIFICATION not in self.accepted or self._requestor.echo(_VERIFICATION) != status.SUCCESS:
            message = f"{self._peer} did not answer C-ECHO"
            raise DestinationUnavailable(message)


@contextmanager
def open_sender(peer: Peer, calling_ae: str, contexts: Sequence[Context]) -> Iterator[Sender]:
    """Yield an association that proposed each context by itself; released at the end, aborted on an exception.

    Raises DestinationUnavailable where there is none, naming what to check.
    """
    requestor = Requestor(peer, calling_ae, list(dict.fromkeys(contexts)))
    try:
        yield Sender(peer, requestor)
    except BaseException:
        requestor.abort()
        raise
    requestor.release()


def echo(peer: Peer, calling_ae: str) -> None:
    """Verify that a destination answers C-ECHO. Raises DestinationUnavailable, naming what to check."""
    with open_sender(peer, calling_ae, [_VERIFICATION]) as sender:
        sender.echo()


def send(peer: Peer, calling_ae: str, objects: Sequence[Outgoing]) -> None:
    """Send objects in their order over one association; returns once every one of them is stored.

    Raises DestinationUnavailable where trying again later may help, DestinationRefused where it will not.
    """
    with open_sender(peer, calling_ae, [item.context for item in objects]) as sender:
        for item in objects:
            if item.context not in sender.accepted:
                message = f"{peer} does not accept SOP class {item.sop_class_uid} in {item.transfer_syntax_uid}"
                raise DestinationRefused(message)
            answer = sender.store(item)
            if status.is_stored(answer):
                continue
            message = f"{peer} answered C-STORE of {item.sop_instance_uid} with 0x{answer:04X}"
            raise DestinationUnavailable(message) if status.may_pass(answer) else DestinationRefused(message)


def dataset_of(path: Path) -> memoryview:
    """Return the encoded data set of a Part 10 file: what follows its file meta information.

    Raises DestinationRefused where the file is none.
    """
    content = memoryview(path.read_bytes())
    start = _META_LENGTH_AT + 12
    if content[128:140].tobytes() != b"DICM\x02\x00\x00\x00UL\x04\x00":
        message = f"{path.name} is not a Part 10 file; make the result again"
        raise DestinationRefused(message)
    (length,) = struct.unpack_from("<I", content, start - 4)
    return content[start + length :]
