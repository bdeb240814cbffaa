"""Part 10 files: a file meta group in front of bytes as received, and whole data sets of our own."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

from pydicom import dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID

from dicom_node.part10.preface import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION, preface

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"


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
