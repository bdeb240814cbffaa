"""Two phantom studies as DICOM files: drawn by this package, of nobody, with the same UIDs every time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

from dicom_node import __version__
from dicom_node.cli.demo import anatomy
from dicom_node.cli.demo.exposure import BITS, expose
from dicom_node.core.identifiers import derived_uid
from dicom_node.part10 import writer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicom_node.cli.demo.skeleton import Tube, View

_DATE: Final = "20260105"


@dataclass(frozen=True, slots=True)
class Phantom:
    """One phantom study: whom and what its header names, its bones and its views."""

    number: int
    patient: str
    description: str
    modality: str
    body_part: str
    region: tuple[str, str, str]
    bones: tuple[Tube, ...]
    views: tuple[View, ...]

    @property
    def study_uid(self) -> str:
        """The study's UID."""
        return derived_uid("phantom", str(self.number), "study")


def phantoms() -> tuple[Phantom, Phantom]:
    """Return a wrist with a broken radius (DX) and a whole hand (CR, MONOCHROME1)."""
    return (
        Phantom(
            number=1,
            patient="Phantom^Forearm",
            description="Phantom: wrist, two views, distal radius broken",
            modality="DX",
            body_part="WRIST",
            region=("8205005", "SCT", "Wrist"),
            bones=anatomy.broken_wrist(),
            views=anatomy.WRIST_VIEWS,
        ),
        Phantom(
            number=2,
            patient="Phantom^Hand",
            description="Phantom: hand, two views, nothing broken",
            modality="CR",
            body_part="HAND",
            region=("85562004", "SCT", "Hand"),
            bones=(*anatomy.forearm(), *anatomy.hand()),
            views=anatomy.HAND_VIEWS,
        ),
    )


def write(folder: Path) -> tuple[Path, ...]:
    """Draw both studies into a folder, one file a view, and return the files."""
    paths: list[Path] = []
    for phantom in phantoms():
        for index, view in enumerate(phantom.views):
            path = folder / f"phantom-{phantom.number}" / f"{view.name.lower()}.dcm"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(writer.encode(image(phantom, index)))
            paths.append(path)
    return tuple(paths)


def image(phantom: Phantom, index: int) -> Dataset:
    """Return one view of a phantom as a CR or DX image."""
    view = phantom.views[index]
    grey = expose(phantom.bones, anatomy.flesh(), view, "R", seed=100 * phantom.number + index)
    dataset = Dataset()
    _patient_and_study(dataset, phantom)
    _series(dataset, phantom, view)
    _image(dataset, phantom, index, view)
    if phantom.modality == "DX":
        _pixels(dataset, grey, "MONOCHROME2")
        _digital_x_ray(dataset, phantom, view)
    else:
        _pixels(dataset, (2**BITS - 1 - grey).astype(np.uint16), "MONOCHROME1")
        _computed_radiography(dataset, view)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


def _patient_and_study(dataset: Dataset, phantom: Phantom) -> None:
    dataset.PatientName = phantom.patient
    dataset.PatientID = f"PHANTOM-{phantom.number}"
    dataset.IssuerOfPatientID = "DICOM-NODE"
    dataset.PatientBirthDate = "19700101"
    dataset.PatientSex = "O"
    dataset.StudyInstanceUID = phantom.study_uid
    dataset.StudyDate = _DATE
    dataset.StudyTime = "101500"
    dataset.StudyID = f"P{phantom.number}"
    dataset.AccessionNumber = f"PHANTOM{phantom.number:04d}"
    dataset.ReferringPhysicianName = ""
    dataset.StudyDescription = phantom.description


def _series(dataset: Dataset, phantom: Phantom, view: View) -> None:
    dataset.Modality = phantom.modality
    dataset.SeriesInstanceUID = derived_uid("phantom", str(phantom.number), "series", view.name)
    dataset.SeriesNumber = 1 + phantom.views.index(view)
    dataset.SeriesDate, dataset.SeriesTime = _DATE, "101500"
    dataset.SeriesDescription = f"{phantom.body_part} {view.name}"
    dataset.Manufacturer = "The dicom-node team"
    dataset.ManufacturerModelName = "Drawn phantom"
    dataset.DeviceSerialNumber = "0"
    dataset.SoftwareVersions = __version__
    dataset.PatientOrientation = ["P", "H"] if view.name == "LL" else ["L", "H"]
    dataset.BodyPartExamined = phantom.body_part


def _image(dataset: Dataset, phantom: Phantom, index: int, view: View) -> None:
    is_dx = phantom.modality == "DX"
    dataset.SOPClassUID = DigitalXRayImageStorageForPresentation if is_dx else ComputedRadiographyImageStorage
    dataset.SOPInstanceUID = derived_uid("phantom", str(phantom.number), "image", view.name)
    dataset.InstanceNumber = 1
    dataset.ContentDate, dataset.ContentTime = _DATE, f"1015{10 + index}"
    dataset.AcquisitionDate, dataset.AcquisitionTime = _DATE, f"1015{10 + index}"
    dataset.AcquisitionNumber = 1 + index
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.ImageComments = "Synthetic phantom drawn by dicom-node; shows nobody"
    dataset.BurnedInAnnotation = "NO"
    dataset.LossyImageCompression = "00"
    dataset.KVP = "55"


def _pixels(dataset: Dataset, grey: NDArray[np.uint16], photometric: str) -> None:
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = photometric
    dataset.Rows, dataset.Columns = (int(side) for side in grey.shape)
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, BITS, BITS - 1
    dataset.PixelRepresentation = 0
    dataset.WindowCenter, dataset.WindowWidth = 2 ** (BITS - 1), 2**BITS
    dataset.PixelData = grey.astype("<u2").tobytes()
    dataset["PixelData"].VR = "OW"


def _computed_radiography(dataset: Dataset, view: View) -> None:
    dataset.ViewPosition = "PA" if view.angle == 0 else "LLO"
    dataset.Laterality = "R"
    dataset.ImagerPixelSpacing = [view.spacing, view.spacing]


def _digital_x_ray(dataset: Dataset, phantom: Phantom, view: View) -> None:
    dataset.ImageType = ["ORIGINAL", "PRIMARY", ""]
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.ImageLaterality = "R"
    dataset.ViewPosition = view.name
    dataset.AnatomicRegionSequence = [_code(*phantom.region)]
    frontal = view.name == "PA"
    code = _code("272479007", "SCT", "postero-anterior") if frontal else _code("399067008", "SCT", "lateral")
    code.ViewModifierCodeSequence = []
    dataset.ViewCodeSequence = [code]
    dataset.ImagerPixelSpacing = [view.spacing, view.spacing]
    dataset.DetectorType = "DIRECT"
    dataset.PixelIntensityRelationship = "LOG"
    dataset.PixelIntensityRelationshipSign = -1
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = 0, 1, "US"
    dataset.PresentationLUTShape = "IDENTITY"
    dataset.AcquisitionContextSequence = []
    dataset.PositionerType = "NONE"


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code
