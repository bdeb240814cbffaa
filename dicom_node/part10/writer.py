"""Part 10 files: a file meta group in front of bytes as received, and whole data sets of our own."""

from __future__ import annotations

import struct
from io import BytesIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from dicom_node.part10.encoder import Encoder

IMPLEMENTATION_CLASS_UID = "2.25.218327492316450712363571604125893610113"
IMPLEMENTATION_VERSION = "DICOMNODE_0"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
#: Implicit VR, big endian, deflated: for these data sets go through pydicom.
_OTHERWISE_ENCODED = frozenset({"1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"})
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


def wrap(dataset: bytes, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """Return a Part 10 file of an encoded data set, its bytes untouched."""
    return preface(sop_class_uid, sop_instance_uid, transfer_syntax_uid) + dataset


def encode(dataset: Dataset, encoder: Encoder | None = None) -> bytes:
    """Return a data set of our own as a Part 10 file, the same bytes every time, and those that pydicom writes.

    Explicit VR little endian unless the data set's file meta names another transfer syntax. encoder: knows what was
    encoded before, for data sets that share values.
    """
    meta = getattr(dataset, "file_meta", None)
    syntax = str(meta.get("TransferSyntaxUID", EXPLICIT_LITTLE)) if meta is not None else EXPLICIT_LITTLE
    if syntax in _OTHERWISE_ENCODED:
        return _by_pydicom(dataset, syntax)
    # Not at the top: the node writes prefaces only, and would wait for pydicom at its start.
    from dicom_node.part10 import encoder as encoding  # noqa: PLC0415

    try:
        body = (encoder or encoding.Encoder()).dataset(dataset)
    except encoding.AmbiguousVr:
        return _by_pydicom(dataset, syntax)
    return preface(str(dataset.SOPClassUID), str(dataset.SOPInstanceUID), syntax) + body


def _by_pydicom(dataset: Dataset, syntax: str) -> bytes:
    from pydicom import dcmwrite  # noqa: PLC0415
    from pydicom.dataset import FileMetaDataset  # noqa: PLC0415
    from pydicom.uid import UID  # noqa: PLC0415

    if not hasattr(dataset, "file_meta"):
        dataset.file_meta = FileMetaDataset()
    meta = dataset.file_meta
    meta.TransferSyntaxUID = UID(syntax)
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()
