"""Reading results back out of a PACS: what an SR says, and whether a study has exactly the results it should."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pydicom.dataset import Dataset

PRESENCE = {"52101004": "positive", "272519000": "negative", "373068000": "inconclusive"}
NOT_ANALYSED = "not-analysed"


@dataclass(frozen=True)
class Reported:
    """What one Structured Report says about its study."""

    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    accession_number: str
    patient_id: str
    patient_name: str
    outcome: str
    probability: float | None
    numbers: int
    text: str
    predecessors: tuple[str, ...]
    views: frozenset[str]


def read_report(report: Dataset) -> Reported:
    """Return what a report says; raises ValueError where it does not have the shape of ours."""
    groups = [item for item in walk(report) if concept(item) == "125007"]
    study = groups[0] if groups else Dataset()
    presence = [item for item in _children(study) if concept(item) == "121052"]
    outcome = PRESENCE[str(presence[0].ConceptCodeSequence[0].CodeValue)] if presence else NOT_ANALYSED
    numbers = [item for item in walk(report) if item.get("ValueType") == "NUM"]
    probability = [_percent(item) for item in _children(study) if concept(item) == "122157"]
    return Reported(
        str(report.SOPInstanceUID),
        str(report.StudyInstanceUID),
        str(report.SeriesInstanceUID),
        str(report.get("AccessionNumber", "")),
        str(report.get("PatientID", "")),
        str(report.get("PatientName", "")),
        outcome,
        probability[0] if probability else None,
        sum(concept(item) == "122157" for item in numbers),
        "\n".join(str(item.TextValue) for item in walk(report) if item.get("ValueType") == "TEXT"),
        tuple(_predecessors(report)),
        frozenset(_analysed(report)),
    )


def walk(item: Dataset) -> Iterator[Dataset]:
    """Yield every content item below a node of an SR's tree, depth first."""
    for child in _children(item):
        yield child
        yield from walk(child)


def concept(item: Dataset) -> str:
    """Return the code value of a content item's concept name."""
    names = item.get("ConceptNameCodeSequence")
    return str(names[0].CodeValue) if names else ""


def _children(item: Dataset) -> list[Dataset]:
    return list(item.get("ContentSequence") or [])


def _percent(item: Dataset) -> float:
    value = item.MeasuredValueSequence[0]
    unit = str(value.MeasurementUnitsCodeSequence[0].CodeValue)
    return float(value.NumericValue) / (100.0 if unit == "%" else 1.0)


def _predecessors(report: Dataset) -> Iterator[str]:
    for study in report.get("PredecessorDocumentsSequence") or []:
        for series in study.ReferencedSeriesSequence:
            for reference in series.ReferencedSOPSequence:
                yield str(reference.ReferencedSOPInstanceUID)


def _analysed(report: Dataset) -> Iterator[str]:
    for study in report.get("CurrentRequestedProcedureEvidenceSequence") or []:
        for series in study.ReferencedSeriesSequence:
            for reference in series.ReferencedSOPSequence:
                yield str(reference.ReferencedSOPInstanceUID)
