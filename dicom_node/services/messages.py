"""What node and worker say to each other: length-prefixed JSON over a Unix socket, never a pickle."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal, Union

from pydantic import Discriminator, TypeAdapter

from dicom_node.core.findings import StudyFinding, ViewFinding
from dicom_node.services.unix import listen, socket_address

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Channel", "Message", "connect", "listen"]

_LENGTH = struct.Struct(">I")
MAX_MESSAGE = 16 << 20

#: Images that a worker looks at beside the one in hand: while one of them takes long to decode, the others keep the
#: network busy.
AHEAD = 3


@dataclass(frozen=True)
class Hello:
    """The worker introduces itself with the digest of the bundle it found and what runs it."""

    bundle_sha256: str
    runtime: str
    problem: str | None
    type: Literal["hello"] = "hello"


@dataclass(frozen=True)
class Next:
    """The worker asks for a job."""

    type: Literal["next"] = "next"


@dataclass(frozen=True)
class Idle:
    """There is no job at the moment; ask again."""

    type: Literal["idle"] = "idle"


@dataclass(frozen=True)
class Image:
    """A received image: where its file is, and what the ledger knows of it."""

    sop_instance_uid: str
    sop_class_uid: str
    study_instance_uid: str
    modality: str
    spool_key: str
    sha256: str = ""  # of the data set, the last `size` bytes of its file
    size: int = 0


@dataclass(frozen=True)
class AnalyseJob:
    """Analyse one image; put what is to be kept into `folder` (a new folder, relative to the state folder).

    upcoming: the images that probably come next, in their order, which may be looked at meanwhile; nobody has leased
    them.
    """

    image: Image
    folder: str
    upcoming: tuple[Image, ...] = ()
    type: Literal["analyse"] = "analyse"


@dataclass(frozen=True)
class ViewToCompose:
    """One view of a study with its finding and the folder of its maps, if there is one."""

    sop_class_uid: str
    sop_instance_uid: str
    spool_key: str
    finding: ViewFinding
    folder: str | None
    sha256: str = ""  # as of an image
    size: int = 0


@dataclass(frozen=True)
class Reference:
    """One of the reports that this version replaces; there is one for each rung of the SR ladder."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str


@dataclass(frozen=True)
class ComposeJob:
    """Compose a study's version into `folder` (a new folder, relative to the state folder)."""

    study_instance_uid: str
    version: int
    closed_at: float
    views: tuple[ViewToCompose, ...]
    predecessors: tuple[Reference, ...]
    folder: str
    type: Literal["compose"] = "compose"


@dataclass(frozen=True)
class Analysed:
    """The answer to AnalyseJob; folder_sha256 is None where nothing was kept.

    alert: what somebody should look at on this machine, in words.
    """

    finding: ViewFinding
    folder_sha256: str | None
    engine_ms: float | None
    alert: str | None = None
    pixels_sha256: str | None = None  # of the grey values that the model was given, and how they were made
    transform: str | None = None
    took_ms: dict[str, float] = field(default_factory=dict)  # by stage, in their order
    type: Literal["analysed"] = "analysed"


@dataclass(frozen=True)
class ComposedObject:
    """One file of a composed result, in sending order; those of one slot are alternatives, best first."""

    kind: str
    slot: str
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    transfer_syntax_uid: str
    file: str


@dataclass(frozen=True)
class Composed:
    """The answer to ComposeJob."""

    finding: StudyFinding
    folder_sha256: str
    objects: tuple[ComposedObject, ...]
    took_ms: dict[str, float] = field(default_factory=dict)  # by stage, in their order
    type: Literal["composed"] = "composed"


@dataclass(frozen=True)
class Failed:
    """The job raised; it may be tried again unless the failure is permanent."""

    error: str
    permanent: bool = False
    type: Literal["failed"] = "failed"


@dataclass(frozen=True)
class Purge:
    """A person asks to remove the bytes kept of an answered study or (empty UID) of all whose time has come."""

    study_instance_uid: str
    type: Literal["purge"] = "purge"


@dataclass(frozen=True)
class Purged:
    """How many studies' bytes were removed."""

    count: int
    type: Literal["purged"] = "purged"


Message = Annotated[
    Union[Hello, Next, Idle, AnalyseJob, ComposeJob, Analysed, Composed, Failed, Purge, Purged],  # noqa: UP007 - for TypeAdapter on 3.10
    Discriminator("type"),
]
_ADAPTER: TypeAdapter[Message] = TypeAdapter(Message)
FINDING: TypeAdapter[ViewFinding] = TypeAdapter(ViewFinding)


def connect(path: Path) -> Channel:
    """Return a channel to whoever listens at a path. Raises OSError where nobody does."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with socket_address(path) as address:
            sock.connect(address)
    except OSError:
        sock.close()
        raise
    return Channel(sock)


class Channel:
    """A stream socket that carries messages."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def send(self, message: Message) -> None:
        """Send one message. Raises OSError where the other end is gone."""
        body = _ADAPTER.dump_json(message)
        self._socket.sendall(_LENGTH.pack(len(body)) + body)

    def receive(self, timeout_s: float | None = None) -> Message:
        """Return the next message.

        Raises EOFError where the other end is gone, TimeoutError after timeout_s, ValueError on what is no message.
        """
        self._socket.settimeout(timeout_s)
        (length,) = _LENGTH.unpack(self._exactly(_LENGTH.size))
        if length > MAX_MESSAGE:
            message = f"a message of {length} bytes is longer than {MAX_MESSAGE}"
            raise ValueError(message)
        return _ADAPTER.validate_json(self._exactly(length))

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def _exactly(self, size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            part = self._socket.recv(min(size - len(parts), 1 << 16))
            if not part:
                raise EOFError
            parts += part
        return bytes(parts)
