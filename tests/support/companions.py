"""What a PACS forwards together with radiographs: instances of other kinds, small and well-formed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, generate_uid

EXPLICIT = UID("1.2.840.10008.1.2.1")


@dataclass(frozen=True)
class Kind:
    """A SOP class and the modality it comes with."""

    name: str
    sop_class_uid: str
    modality: str
    has_pixels: bool = True


KINDS = (
    Kind("CT", "1.2.840.10008.5.1.4.1.1.2", "CT"),
    Kind("MR", "1.2.840.10008.5.1.4.1.1.4", "MR"),
    Kind("ultrasound", "1.2.840.10008.5.1.4.1.1.6.1", "US"),
    Kind("mammogram", "1.2.840.10008.5.1.4.1.1.1.2", "MG"),
    Kind("secondary capture", "1.2.840.10008.5.1.4.1.1.7", "OT"),
    Kind("DX for processing", "1.2.840.10008.5.1.4.1.1.1.1.1", "DX"),
    Kind("somebody's report", "1.2.840.10008.5.1.4.1.1.88.11", "SR", has_pixels=False),
    Kind("PDF", "1.2.840.10008.5.1.4.1.1.104.1", "DOC", has_pixels=False),
    Kind("presentation state", "1.2.840.10008.5.1.4.1.1.11.1", "PR", has_pixels=False),
    Kind("dose report", "1.2.840.10008.5.1.4.1.1.88.67", "SR", has_pixels=False),
    Kind("private class", "1.2.840.113619.4.26", "OT"),
)


def write(folder: Path, kind: Kind, study_instance_uid: str, patient_id: str, accession: str = "") -> Path:
    """Write one instance of a kind into a study."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = UID(kind.sop_class_uid), generate_uid()
    dataset.Modality, dataset.Manufacturer = kind.modality, "Test Modality Inc"
    dataset.PatientID, dataset.PatientName = patient_id, "Companion^Of"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study_instance_uid, generate_uid()
    dataset.StudyDate, dataset.StudyTime, dataset.AccessionNumber = "20260102", "101500", accession
    if kind.has_pixels:
        dataset.Rows = dataset.Columns = 16
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.add_new("PixelData", "OB", bytes(range(256)))
    if kind.name == "PDF":
        dataset.MIMETypeOfEncapsulatedDocument = "application/pdf"
        dataset.EncapsulatedDocument = b"%PDF-1.4\n%%EOF\n"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = EXPLICIT
    file = folder / f"{dataset.SOPInstanceUID}.dcm"
    dataset.save_as(file, enforce_file_format=True)
    return file
