"""What is sent: instances of one kind each, with UIDs of their own, neither zeros nor pure noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import imagecodecs
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, JPEG2000Lossless, JPEGLSLossless, generate_uid

from dicom_node.part10.writer import encode

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_CR, _DX = "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.1.1"
_VIEWS = 4  # of a study


@dataclass(frozen=True)
class Workload:
    """A kind of instance: SOP class, modality, rows and columns, and its codec, if it has one."""

    sop_class: str
    modality: str
    rows: int
    columns: int
    syntax: str = ""


#: A is 10 MB, B 0.5 MB, both uncompressed; C and D a whole CR plate of 7.5 MB, 3.1 MB as JPEG-LS and as JPEG 2000.
WORKLOADS = {
    "A": Workload(_DX, "DX", 2500, 2000),
    "B": Workload(_CR, "CR", 512, 512),
    "C": Workload(_CR, "CR", 2140, 1760, JPEGLSLossless),
    "D": Workload(_CR, "CR", 2140, 1760, JPEG2000Lossless),
}


def make(folder: Path, name: str, count: int) -> list[Path]:
    """Write the files of a workload; uncompressed ones have pixels of their own, compressed ones share a codestream."""
    folder.mkdir(parents=True)
    kind = WORKLOADS[name]
    noise = np.random.default_rng(1).integers(0, 64, (kind.rows, kind.columns), dtype=np.uint16)
    plane = noise + np.linspace(0, 16000, kind.columns, dtype=np.uint16)
    packed = _packed(plane, kind.syntax) if kind.syntax else b""
    files = []
    for number in range(count):
        if number % _VIEWS == 0:
            study = generate_uid()
        ds = _header(kind, number)
        ds.StudyInstanceUID = study
        if kind.syntax:
            ds.file_meta = FileMetaDataset()
            ds.file_meta.TransferSyntaxUID = UID(kind.syntax)
            ds.add_new(0x7FE00010, "OB", packed)
            ds["PixelData"].is_undefined_length = True
        else:
            ds.add_new(0x7FE00010, "OW", np.roll(plane, number, axis=1).tobytes())
        files.append(folder / f"{number:04d}.dcm")
        files[-1].write_bytes(encode(ds))
    return files


def _packed(plane: NDArray[np.uint16], syntax: str) -> bytes:
    if syntax == JPEGLSLossless:
        return encapsulate([bytes(imagecodecs.jpegls_encode(plane))])
    return encapsulate([bytes(imagecodecs.jpeg2k_encode(plane, codecformat="j2k", reversible=True, level=0))])


def _header(kind: Workload, number: int) -> Dataset:
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = kind.sop_class, generate_uid(), kind.modality
    ds.SeriesInstanceUID = generate_uid()
    ds.PatientName, ds.PatientID, ds.BodyPartExamined = "Bench^Phantom", f"BENCH{number}", "HAND"
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = kind.rows, kind.columns, 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 14, 13, 0
    return ds
