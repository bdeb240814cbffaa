"""Sending files: DCMTK's storescu for what is in order, and a raw sender that sends any bytes exactly as they are."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom import config
from pydicom.uid import UID, generate_uid
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu import A_ASSOCIATE_RJ

CALLED = "DICOMNODE"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"

# What a node may be sent is what these are for: private classes and odd UIDs must reach the wire as they are.
_config.UNRESTRICTED_STORAGE_SERVICE = True
_config.ENFORCE_UID_CONFORMANCE = False
_config.LOG_HANDLER_LEVEL = "none"

_STORESCU_OPTION = {
    "1.2.840.10008.1.2": "-xi",
    "1.2.840.10008.1.2.1": "-xe",
    "1.2.840.10008.1.2.2": "-xb",
    "1.2.840.10008.1.2.1.99": "-xd",
    "1.2.840.10008.1.2.5": "-xr",
    "1.2.840.10008.1.2.4.50": "-xy",
    "1.2.840.10008.1.2.4.51": "-xx",
    "1.2.840.10008.1.2.4.70": "-xs",
    "1.2.840.10008.1.2.4.80": "-xt",
    "1.2.840.10008.1.2.4.81": "-xu",
    "1.2.840.10008.1.2.4.90": "-xv",
    "1.2.840.10008.1.2.4.91": "-xw",
}


@dataclass(frozen=True)
class Part10:
    """A file as it goes over the wire; had_meta tells whether the file itself said what it is."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    dataset: bytes
    had_meta: bool


@dataclass(frozen=True)
class Answer:
    """What became of one C-STORE: a DIMSE status, or in words why there is none."""

    status: int | None
    outcome: str  # "answered", "context rejected", "association rejected", "aborted", "not connected"
    comment: str = ""

    @property
    def stored(self) -> bool:
        """Tell whether the peer took responsibility for the instance."""
        return self.status == 0

    def __str__(self) -> str:
        return self.outcome if self.status is None else f"0x{self.status:04X}"


def read_part10(file: Path) -> Part10:
    """Split a file into what the command says and the data set's exact bytes, as tolerantly as a gateway would."""
    raw = file.read_bytes()
    start = 132 if raw[128:132] == b"DICM" else 0
    meta, end = _meta(raw, start)
    guessed = _guess_syntax(raw[end : end + 6])
    syntax = meta.get(0x0010) or guessed
    found = _plain_uids(raw[end : end + 65536], syntax)
    sop_class = found.get((0x0008, 0x0016)) or meta.get(0x0002) or SECONDARY_CAPTURE
    instance = found.get((0x0008, 0x0018)) or meta.get(0x0003) or str(generate_uid())
    return Part10(sop_class, instance, syntax, raw[end:], bool(meta.get(0x0010)))


def _meta(raw: bytes, offset: int) -> tuple[dict[int, str], int]:
    """Return the UIDs of the file meta information by element number, and where the data set begins."""
    found: dict[int, str] = {}
    while offset + 8 <= len(raw):
        group, element, vr, length = struct.unpack_from("<HH2sH", raw, offset)
        if group != 0x0002:
            break
        head = 8
        if vr in {b"OB", b"UN", b"SQ"}:
            head, length = 12, struct.unpack_from("<I", raw, offset + 8)[0]
        value = raw[offset + head : offset + head + length]
        if vr == b"UI":
            found[element] = value.decode("ascii", "replace").strip("\0 ")
        offset += head + length
    return found, offset


def _guess_syntax(head: bytes) -> str:
    """Return the likeliest native transfer syntax of a data set that does not say."""
    if len(head) == 6 and head[4:6].isalpha() and head[4:6].isupper():
        return "1.2.840.10008.1.2.2" if head[0] == 0 and head[1] else EXPLICIT
    return IMPLICIT


def _plain_uids(raw: bytes, syntax: str) -> dict[tuple[int, int], str]:
    """Return SOP class and instance UID from the start of a data set; empty where it cannot be read that simply."""
    if syntax.endswith(".99"):
        return {}
    order = ">" if syntax == "1.2.840.10008.1.2.2" else "<"
    found: dict[tuple[int, int], str] = {}
    offset = 0
    while offset + 12 <= len(raw) and len(found) < 2:
        group, element = struct.unpack_from(f"{order}HH", raw, offset)
        vr = raw[offset + 4 : offset + 6]
        if syntax == IMPLICIT:
            head, length = 8, struct.unpack_from(f"{order}I", raw, offset + 4)[0]
        elif vr in {b"OB", b"OW", b"SQ", b"UN", b"UT", b"UC", b"UR"}:
            head, length = 12, struct.unpack_from(f"{order}I", raw, offset + 8)[0]
        else:
            head, length = 8, struct.unpack_from(f"{order}H", raw, offset + 6)[0]
        if group > 0x0008 or length == 0xFFFFFFFF:
            break
        if (group, element) in {(8, 0x16), (8, 0x18)}:
            found[group, element] = raw[offset + head : offset + head + length].decode("ascii", "replace").strip("\0 ")
        offset += head + length
    return found


class RawSender:
    """Sends data sets byte for byte in their own transfer syntax; one association for many objects of one kind."""

    def __init__(self, port: int, calling: str = "MODALITY", called: str = CALLED, timeout_s: float = 60) -> None:
        self._port, self._called = port, called
        self._ae = AE(ae_title=calling)
        self._ae.acse_timeout = self._ae.dimse_timeout = self._ae.network_timeout = timeout_s
        self._ae.connection_timeout = timeout_s
        self._association: Association | None = None
        self._contexts: tuple[tuple[str, str], ...] = ()
        self._message_id = 0

    def send(self, file: Path) -> Answer:
        """Send one file on an association of its own."""
        try:
            return self.send_part10(read_part10(file))
        finally:
            self.close()

    def send_all(self, files: list[Path] | tuple[Path, ...]) -> list[Answer]:
        """Send files one after the other, on one association for as long as it holds."""
        parts = [read_part10(file) for file in files]
        contexts = tuple(dict.fromkeys((part.sop_class_uid, part.transfer_syntax_uid) for part in parts))
        try:
            return [self.send_part10(part, contexts) for part in parts]
        finally:
            self.close()

    def send_part10(self, part: Part10, contexts: tuple[tuple[str, str], ...] = ()) -> Answer:
        """Send one object, opening an association where none is open for it."""
        wanted = contexts or ((part.sop_class_uid, part.transfer_syntax_uid),)
        if self._association is None or not self._association.is_established or self._contexts != wanted:
            self.close()
            refusal = self._open(wanted)
            if refusal is not None:
                return refusal
        assert self._association is not None
        accepted = {
            (str(context.abstract_syntax), str(context.transfer_syntax[0])): context.context_id
            for context in self._association.accepted_contexts
        }
        identifier = accepted.get((part.sop_class_uid, part.transfer_syntax_uid))
        if identifier is None:
            return Answer(None, "context rejected")
        return self._exchange(part, identifier)

    def _open(self, contexts: tuple[tuple[str, str], ...]) -> Answer | None:
        self._ae.requested_contexts = []
        for sop_class, syntax in contexts:
            self._ae.add_requested_context(_uid(sop_class), _uid(syntax))
        heard: list[object] = []
        handlers: list[Any] = [(evt.EVT_PDU_RECV, lambda event: heard.append(event.pdu))]
        association = self._ae.associate("127.0.0.1", self._port, ae_title=self._called, evt_handlers=handlers)
        if association.is_established:
            self._association, self._contexts = association, contexts
            return None
        # A rejection that comes before pynetdicom has looked whether it is connected is to it no connection at all.
        if association.is_rejected or any(isinstance(pdu, A_ASSOCIATE_RJ) for pdu in heard):
            return Answer(None, "association rejected")
        if association.is_aborted and association.rejected_contexts:
            return Answer(None, "context rejected")
        return Answer(None, "not connected")

    def _exchange(self, part: Part10, context_id: int) -> Answer:
        association = self._association
        assert association is not None
        self._message_id = self._message_id % 65535 + 1
        request = C_STORE()
        request.MessageID, request.Priority = self._message_id, 2
        request.AffectedSOPClassUID = _uid(part.sop_class_uid)
        request.AffectedSOPInstanceUID = _uid(part.sop_instance_uid)
        request.DataSet = BytesIO(part.dataset)
        # As Association.send_c_store does it: the reactor thread must not take the answer for itself.
        association._reactor_checkpoint.clear()
        try:
            association.dimse.send_msg(request, context_id)
            _, response = association.dimse.get_msg(block=True)
        finally:
            association._reactor_checkpoint.set()
        if response is None:
            association.abort()
            self._association = None
            return Answer(None, "aborted")
        return Answer(int(response.Status), "answered", str(response.ErrorComment or ""))

    def close(self) -> None:
        """Release the association, if one is open."""
        if self._association is not None and self._association.is_established:
            self._association.release()
        self._association = None


def _uid(text: str) -> UID:
    """Return a UID as it is written, without a word about what is wrong with it."""
    return UID(text, validation_mode=config.IGNORE)


def storescu() -> str | None:
    """Return DCMTK's storescu, not pynetdicom's of the same name; None where it is not installed."""
    own = str(Path(sys.executable).parent)
    folders = [folder for folder in os.environ.get("PATH", "").split(os.pathsep) if folder != own]
    return shutil.which("storescu", path=os.pathsep.join(folders))


def send_with_dcmtk(port: int, file: Path, called: str = CALLED) -> tuple[int, str]:
    """Send one file with DCMTK's storescu in its own transfer syntax; returns the exit status and what it said."""
    program = storescu()
    assert program is not None
    option = _STORESCU_OPTION.get(read_part10(file).transfer_syntax_uid, "-xe")
    line = [program, "-v", "-R", option, "-aet", "MODALITY", "-aec", called, "127.0.0.1", str(port), str(file)]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=120)
    return done.returncode, done.stdout + done.stderr
