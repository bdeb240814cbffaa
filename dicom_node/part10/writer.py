"""Part 10 files: a file meta group in front of bytes as received, and whole data sets of our own."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

from pydicom import dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

IMPLEMENTATION_CLASS_UID = "2.25.218327492316450712363571604125893610113"
IMPLEMENTATION_VERSION = "DICOMNODE_0"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"


def preface(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """Return preamble and file meta information (PS3.10 7.1) for a data set that follows as received.

    The preamble is 128 zero bytes of our own: a peer's could make the file executable (CVE-2019-11687).
    """
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = UID(sop_class_uid)
    meta.MediaStorageSOPInstanceUID = UID(sop_instance_uid)
    meta.TransferSyntaxUID = UID(transfer_syntax_uid)
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION
    buffer = DicomBytesIO()
    buffer.write(b"\x00" * 128 + b"DICM")
    write_file_meta_info(buffer, meta, enforce_standard=True)
    return buffer.getvalue()


def wrap(dataset: bytes, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """Return a Part 10 file of an encoded data set, its bytes untouched."""
    return preface(sop_class_uid, sop_instance_uid, transfer_syntax_uid) + dataset


def encode(dataset: Dataset) -> bytes:
    """Return a data set of our own as a Part 10 file, the same bytes every time.

    Explicit VR little endian unless the data set's file meta names another transfer syntax.
    """
    if not hasattr(dataset, "file_meta"):
        dataset.file_meta = FileMetaDataset()
    meta = dataset.file_meta
    if "TransferSyntaxUID" not in meta:
        meta.TransferSyntaxUID = UID(EXPLICIT_LITTLE)
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()
