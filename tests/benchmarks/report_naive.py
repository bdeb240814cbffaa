"""What `scripts/bench report` compares with: highdicom as its examples use it, and a heatmap blended in plain numpy."""

from __future__ import annotations

import highdicom as hd
import numpy as np
from highdicom.pr import (
    GraphicAnnotation,
    GraphicLayer,
    GraphicObject,
    GrayscaleSoftcopyPresentationState,
)
from highdicom.sr import CodedConcept
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from tests.benchmarks.report_side import region_of, stored

_MAKER = {"manufacturer": "naive", "device_serial_number": "1"}


def compose(sources: list[Dataset]) -> list[Dataset]:
    """Return a heatmap and a presentation state for each image and one report for all."""
    pages = [_page(source, number) for number, source in enumerate(sources, start=1)]
    states = [_state(source, number) for number, source in enumerate(sources, start=1)]
    return [*pages, *states, _report(sources)]


def _page(source: Dataset, number: int) -> Dataset:
    return hd.sc.SCImage(
        pixel_array=_blended(source),
        photometric_interpretation=hd.PhotometricInterpretationValues.RGB,
        bits_allocated=8,
        coordinate_system=hd.CoordinateSystemNames.PATIENT,
        study_instance_uid=source.StudyInstanceUID,
        series_instance_uid=hd.UID(),
        series_number=900,
        sop_instance_uid=hd.UID(),
        instance_number=number,
        manufacturer="naive",
        patient_id=source.PatientID,
        patient_name=source.PatientName,
        patient_birth_date=source.PatientBirthDate,
        patient_sex=source.PatientSex,
        accession_number=source.AccessionNumber,
        study_id=source.StudyID,
        study_date=source.StudyDate,
        study_time=source.StudyTime,
        referring_physician_name=source.ReferringPhysicianName,
        patient_orientation=("L", "F"),
    )


def _blended(source: Dataset) -> NDArray[np.uint8]:
    """Return the picture at its own size with a jet-like heat over it, every pixel reckoned in floating point."""
    grey = stored(source)
    rows, columns = grey.shape
    y, x = np.mgrid[0:rows, 0:columns]
    heat = np.exp(-(((y - rows / 2) / (0.1 * rows)) ** 2) - ((x - columns / 2) / (0.1 * columns)) ** 2)
    colour = np.stack([np.clip(1.5 - np.abs(4.0 * heat - peak), 0.0, 1.0) for peak in (3.0, 2.0, 1.0)], axis=-1)
    opacity = 0.45 * heat[..., None]
    blended = grey[..., None] * (1.0 - opacity) + colour * opacity
    return np.asarray(np.rint(blended * 255.0), dtype=np.uint8)


def _state(source: Dataset, number: int) -> Dataset:
    points = np.array(region_of(source.Rows, source.Columns).points)
    layer = GraphicLayer("AI", 1)
    line = GraphicObject(hd.pr.GraphicTypeValues.POLYLINE, points, hd.pr.AnnotationUnitsValues.PIXEL)
    return GrayscaleSoftcopyPresentationState(
        referenced_images=[source],
        series_instance_uid=hd.UID(),
        series_number=902,
        sop_instance_uid=hd.UID(),
        instance_number=number,
        manufacturer_model_name="naive",
        software_versions="1",
        content_label="AI",
        graphic_layers=[layer],
        graphic_annotations=[GraphicAnnotation([source], layer, graphic_objects=[line])],
        **_MAKER,
    )


def _report(sources: list[Dataset]) -> Dataset:
    groups = []
    for source in sources:
        points = np.array(region_of(source.Rows, source.Columns).points)
        image = hd.sr.SourceImageForRegion(source.SOPClassUID, source.SOPInstanceUID)
        groups.append(
            hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(
                tracking_identifier=hd.sr.TrackingIdentifier(hd.UID(), "region"),
                referenced_region=hd.sr.ImageRegion(hd.sr.GraphicTypeValues.POLYLINE, points, image),
                finding_type=CodedConcept("125605004", "SCT", "Fracture of bone"),
            )
        )
    device = hd.sr.DeviceObserverIdentifyingAttributes(uid=hd.UID())
    context = hd.sr.ObservationContext(observer_device_context=hd.sr.ObserverContext(codes.DCM.Device, device))
    content = hd.sr.MeasurementReport(
        observation_context=context,
        procedure_reported=CodedConcept("43468-8", "LN", "XR Unspecified body region"),
        imaging_measurements=groups,
    )
    return hd.sr.Comprehensive3DSR(
        evidence=sources,
        content=content[0],
        series_number=901,
        series_instance_uid=hd.UID(),
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="naive",
    )
