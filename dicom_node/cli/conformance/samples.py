"""Results of every kind, composed as the worker does it: what they hold is what the statement lists."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Final

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import ComputedRadiographyImageStorage, DigitalXRayImageStorageForPresentation

from dicom_node.core.decision import Gate, Policy, aggregate
from dicom_node.core.findings import Localisation, Outcome, Reason, ReasonCode, Region, ViewFinding, not_analysed
from dicom_node.core.identifiers import derived_uid
from dicom_node.core.model_identity import ModelIdentity
from dicom_node.core.radiograph import EvidenceMap, InputGeometry
from dicom_node.report.package import Predecessor, ReportOptions, ReportRequest, ResultObject, SourceView, compose
from dicom_node.report.request import SR_LADDER

if TYPE_CHECKING:
    from collections.abc import Iterable

_SIDE: Final = 96
_MADE: Final = datetime(2026, 1, 5, 10, 15, 30, tzinfo=timezone.utc)
_GATE: Final = Gate(Policy.CERTIFIED, 0.1, 0.7, 0.4, 0.8, 0.3, 0.2, 0.6)
_MODEL: Final = ModelIdentity(
    "(the model's name)", "(its version)", "(its maker)", "00" * 32, demonstration=False, runtime="runtime"
)
_PROBABILITY: Final = {Outcome.POSITIVE: 0.9, Outcome.NEGATIVE: 0.05, Outcome.INCONCLUSIVE: 0.4}
_SQUARE: Final = Region(((30.0, 30.0), (60.0, 30.0), (60.0, 60.0), (30.0, 60.0), (30.0, 30.0)))


@dataclass(frozen=True)
class Sample:
    """One result, and the header of the first image that it was made from."""

    source: Dataset
    objects: tuple[ResultObject, ...]


def samples(series_number: int) -> tuple[Sample, ...]:
    """Return results for every outcome, from full and from bare source images, first and later versions."""
    options = ReportOptions(series_number_base=series_number)
    full, bare = full_source(), bare_source()
    return (
        _sample(options, (full, Outcome.POSITIVE), (full, Outcome.INCONCLUSIVE)),
        _sample(options, (bare, Outcome.POSITIVE), version=2),
        _sample(options, (full, Outcome.NEGATIVE), version=2),
        _sample(options, (bare, Outcome.INCONCLUSIVE)),
        _sample(options, (bare, Outcome.NOT_ANALYSED)),
    )


def _sample(options: ReportOptions, *images: tuple[Dataset, Outcome], version: int = 1) -> Sample:
    views = tuple(_view(source, outcome, number) for number, (source, outcome) in enumerate(images))
    study_uid = str(images[0][0].StudyInstanceUID)
    found = aggregate(tuple(view.finding for view in views), _GATE.disagreement_margin, _MODEL)
    before = Predecessor(derived_uid("sample", "sr"), SR_LADDER[0], derived_uid("sample", "s"), study_uid)
    predecessor = before if version > 1 else None
    request = ReportRequest(study_uid, version, _MADE, found, views, _GATE, predecessor, options)
    return Sample(images[0][0], compose(request))


def _view(source: Dataset, outcome: Outcome, number: int) -> SourceView:
    header = Dataset()
    header.update(source)
    header.SOPInstanceUID = derived_uid("sample", "image", str(number))
    if outcome is Outcome.NOT_ANALYSED:
        reason = Reason(ReasonCode.UNDECODABLE, "the pixel data could not be decoded")
        return SourceView(header, not_analysed(header.SOPInstanceUID, reason, _MODEL), None, None)
    geometry = InputGeometry(_SIDE, _SIDE, _SIDE, _SIDE, 1.0, 1.0, 0.0, 0.0)
    values = np.full((12, 12), -0.1, np.float32)
    values[5, 5] = 1.0
    shown = EvidenceMap(values, np.ones((12, 12), dtype=bool), geometry, "evidence")
    return SourceView(header, _finding(header, outcome), np.full((_SIDE, _SIDE), 90, np.uint8), shown)


def _finding(header: Dataset, outcome: Outcome) -> ViewFinding:
    unsure = Reason(ReasonCode.BETWEEN_THRESHOLDS, "the probability lies between the two thresholds")
    return ViewFinding(
        sop_instance_uid=str(header.SOPInstanceUID),
        outcome=outcome,
        reason=unsure if outcome is Outcome.INCONCLUSIVE else None,
        probability=_PROBABILITY[outcome],
        logit=0.0,
        localisation=Localisation(0.4, 0.1, 0.0, (45.0, 45.0), on_border=False, trusted=outcome is Outcome.POSITIVE),
        regions=(_SQUARE,) if outcome is Outcome.POSITIVE else (),
        model=_MODEL,
        negative_below=_GATE.p_low,
    )


def bare_source() -> Dataset:
    """Return the least that an image brings: what cannot be read from it is empty or absent in the result."""
    source = Dataset()
    source.SOPClassUID = ComputedRadiographyImageStorage
    source.SOPInstanceUID = derived_uid("sample", "bare")
    source.StudyInstanceUID = derived_uid("sample", "bare study")
    source.SeriesInstanceUID = derived_uid("sample", "bare series")
    source.Modality = "CR"
    source.Rows = source.Columns = _SIDE
    return source


def full_source() -> Dataset:
    """Return an image with everything that a result takes over."""
    source = bare_source()
    source.SOPClassUID, source.Modality = DigitalXRayImageStorageForPresentation, "DX"
    source.StudyInstanceUID = derived_uid("sample", "study")
    texts = {
        "SpecificCharacterSet": "ISO_IR 100",
        "TimezoneOffsetFromUTC": "+0100",
        "PatientName": "Müller^Eva",
        "PatientID": "ID",
        "IssuerOfPatientID": "HOSPITAL",
        "PatientBirthDate": "19700102",
        "PatientSex": "F",
        "PatientAge": "056Y",
        "AccessionNumber": "ACC",
        "StudyID": "STUDY",
        "StudyDate": "20260104",
        "StudyTime": "091500",
        "StudyDescription": "Description",
        "ReferringPhysicianName": "Doctor^A",
        "BodyPartExamined": "WRIST",
        "ViewPosition": "PA",
        "ImageLaterality": "R",
    }
    for keyword, value in texts.items():
        setattr(source, keyword, value)
    source.PatientOrientation = ["L", "F"]
    source.LossyImageCompression, source.LossyImageCompressionRatio = "01", "12.5"
    source.ProcedureCodeSequence = [_item(CodeValue="P", CodingSchemeDesignator="99LOCAL", CodeMeaning="Procedure")]
    entity = {"UniversalEntityID": "1.2.3", "UniversalEntityIDType": "ISO"}
    source.IssuerOfPatientIDQualifiersSequence = [_item(**entity)]
    source.IssuerOfAccessionNumberSequence = [_item(**entity)]
    source.RequestAttributesSequence = [_item(RequestedProcedureID="RP", ScheduledProcedureStepID="SPS")]
    return source


def _item(**attributes: str) -> Dataset:
    item = Dataset()
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return item


def kinds(made: Iterable[Sample]) -> list[str]:
    """Return the kinds of objects in the order of sending, those of the SR ladder (`sr-33`, …) as one."""
    return list(dict.fromkeys(_kind(item) for sample in made for item in sample.objects))


def of_kind(made: Iterable[Sample], kind: str) -> list[tuple[Dataset, Dataset]]:
    """Return every object of a kind with the source header of its result."""
    return [(sample.source, item.dataset) for sample in made for item in sample.objects if _kind(item) == kind]


def _kind(item: ResultObject) -> str:
    return item.kind.partition("-")[0]
