"""Part 10 files: a file meta group in front of bytes as received, and whole data sets of our own."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

from pydicom import dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID

from dicom_node.part10.encoder import AmbiguousVr, Encoder
from dicom_node.part10.preface import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION, preface

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
#: Implicit VR, big endian, deflated: for these data sets go through pydicom.
_OTHERWISE_ENCODED = frozenset({"1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"})


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
    try:
        body = (encoder or Encoder()).dataset(dataset)
    except AmbiguousVr:
        return _by_pydicom(dataset, syntax)
    return preface(str(dataset.SOPClassUID), str(dataset.SOPInstanceUID), syntax) + body


def _by_pydicom(dataset: Dataset, syntax: str) -> bytes:
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
