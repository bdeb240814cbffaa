"""What every object of a result begins with: identity, series, equipment and SOP common attributes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID

from dicom_node import __version__
from dicom_node.report import codes
from dicom_node.report.identity import dated, identify
from dicom_node.report.provenance import MANUFACTURER, MODEL_NAME, contributing_equipment
from dicom_node.report.request import EXPLICIT_LITTLE

if TYPE_CHECKING:
    from dicom_node.report.request import ReportRequest


@dataclass(frozen=True)
class Place:
    """Where an object stands: its class and UID, its series and its number in it."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    series_number: int
    instance_number: int
    modality: str
    series_description: str


def begin(request: ReportRequest, place: Place) -> Dataset:
    """Return a data set with everything that does not depend on the kind of object.

    Dates are `made_at` in the source's time zone where it names one, so that they agree with Timezone Offset From UTC.
    """
    source = request.source
    made = dated(request.made_at, source)
    dataset = identify(source, request.study_instance_uid)
    dataset.SOPClassUID = UID(place.sop_class_uid)
    dataset.SOPInstanceUID = UID(place.sop_instance_uid)
    dataset.InstanceCreationDate = dataset.ContentDate = dataset.SeriesDate = made.strftime("%Y%m%d")
    dataset.InstanceCreationTime = dataset.ContentTime = dataset.SeriesTime = made.strftime("%H%M%S")
    dataset.Modality = place.modality
    dataset.SeriesInstanceUID = UID(place.series_instance_uid)
    dataset.SeriesNumber = place.series_number
    dataset.SeriesDescription = place.series_description
    dataset.InstanceNumber = place.instance_number
    dataset.Manufacturer = MANUFACTURER
    dataset.ManufacturerModelName = MODEL_NAME
    dataset.SoftwareVersions = __version__
    dataset.ContributingEquipmentSequence = [contributing_equipment(request.finding.model, made)]
    dataset.file_meta = file_meta(place.sop_class_uid, place.sop_instance_uid)
    return dataset


def file_meta(sop_class_uid: str, sop_instance_uid: str) -> FileMetaDataset:
    """Return the file meta information of an uncompressed object."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = UID(EXPLICIT_LITTLE)
    meta.MediaStorageSOPClassUID = UID(sop_class_uid)
    meta.MediaStorageSOPInstanceUID = UID(sop_instance_uid)
    return meta


def own_coding_scheme() -> Dataset:
    """Return the item that says what our private codes are (PS3.3 C.12.1.1.3, Coding Scheme Identification)."""
    item = Dataset()
    item.CodingSchemeDesignator = codes.OWN_SCHEME
    item.CodingSchemeName = codes.OWN_SCHEME_NAME
    item.CodingSchemeVersion = "1"
    item.CodingSchemeResponsibleOrganization = MANUFACTURER
    return item
