"""Small results for delivery tests: four report rungs, a page in two syntaxes and a presentation state, on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import imagecodecs
import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID

from dicom_node.core.identifiers import derived_uid
from dicom_node.ledger.results import ReportObject
from dicom_node.part10.writer import wrap
from tests.unit.part10.test_header import encoded

if TYPE_CHECKING:
    from pathlib import Path

SR = "1.2.840.10008.5.1.4.1.1.88."
SC, PR = "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.11.1"
EXPLICIT, JPEG_LS = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.80"
RUNGS = ("34", "33", "22", "11")


def write_result(
    folder: Path, study: str = "1.2.3", version: int = 1, rungs: tuple[str, ...] = RUNGS
) -> tuple[ReportObject, ...]:
    """Write the files of one result; returns its objects in sending order, alternatives best first.

    The "compressed" page is no image: what goes over the wire is not looked at by anyone here.
    """
    folder.mkdir(parents=True, exist_ok=True)
    page = derived_uid(study, str(version), "sc")
    planned = [("sc-1", "sc", SC, page, JPEG_LS), ("sc-1", "sc", SC, page, EXPLICIT)]
    planned.append(("pr-1", "pr", PR, derived_uid(study, str(version), "pr"), EXPLICIT))
    planned += [("sr", f"sr-{rung}", SR + rung, derived_uid(study, str(version), rung), EXPLICIT) for rung in rungs]
    return tuple(_write(folder, number, study, *item) for number, item in enumerate(planned))


def _write(folder: Path, number: int, study: str, *planned: str) -> ReportObject:
    slot, kind, sop_class, uid, syntax = planned
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID, ds.StudyInstanceUID = sop_class, uid, study
    ds.SeriesInstanceUID, ds.PatientID, ds.PatientName = f"{study}.1", "P1", "Canary^Carla"
    ds.Modality = {"sc": "OT", "pr": "PR", "sr": "SR"}[kind[:2]]
    file = f"{number:03d}-{kind}.dcm"
    (folder / file).write_bytes(wrap(encoded(ds), sop_class, uid, syntax))
    return ReportObject(kind, slot, sop_class, uid, f"{study}.1", syntax, file)


def a_result_of_images(folder: Path, study: str, version: int) -> tuple[ReportObject, ...]:
    """Write a result whose page is a real image in both syntaxes, for a PACS that looks."""
    objects = [item for item in write_result(folder, study, version) if item.kind != "pr"]
    page = np.arange(64 * 64 * 3, dtype=np.uint8).reshape(64, 64, 3)
    for item in objects[:2]:
        ds = dcmread(folder / item.file, force=True)
        ds.file_meta.TransferSyntaxUID = UID(EXPLICIT)
        ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
        ds.Rows, ds.Columns, ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 64, 64, 8, 8, 7, 0
        ds.add_new("PixelData", "OB", page.tobytes())
        if item.transfer_syntax_uid == JPEG_LS:
            ds.PixelData = encapsulate([imagecodecs.jpegls_encode(page)])
            ds.file_meta.TransferSyntaxUID = UID(JPEG_LS)
        ds.save_as(folder / item.file, enforce_file_format=True)
    return tuple(objects)
