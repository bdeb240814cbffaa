"""A result in brief, for systems that do not speak DICOM: `result.json`, which lies beside the objects of a version.

The worker writes it from the header and the findings; FHIR and HL7 messages are made from it and from nothing else. It
names the patient, as the report does, and never leaves the state folder but in such a message. Text is Unicode; a value
that the images do not have is empty. Dates and times are DICOM's (DA, TM), made_at is ISO 8601 with its offset.
"""

from __future__ import annotations

from dataclasses import dataclass

SUMMARY_FILE = "result.json"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class PatientSummary:
    """The patient module; name: up to three groups "family^given^middle^prefix^suffix" joined by "="."""

    patient_id: str
    issuer: str
    name: str
    birth_date: str
    sex: str


@dataclass(frozen=True, slots=True)
class OrderSummary:
    """What the study was made for."""

    accession_number: str
    accession_issuer: str
    placer_order_number: str
    filler_order_number: str


@dataclass(frozen=True, slots=True)
class CodeSummary:
    """A code as PS3.16 writes it: value, scheme designator, meaning."""

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True, slots=True)
class StudySummary:
    """The general study module; procedure: the first complete Procedure Code Sequence item, None without one."""

    study_instance_uid: str
    study_id: str
    date: str
    time: str
    description: str
    procedure: CodeSummary | None


@dataclass(frozen=True, slots=True)
class ViewSummary:
    """One image: its outcome, its probability in [0, 1] or none, and its finding in one line of words.

    reason_code: why it is neither positive nor negative, empty where it is (and in what earlier versions wrote).
    """

    sop_class_uid: str
    sop_instance_uid: str
    outcome: str
    probability: float | None
    words: str
    reason_code: str = ""


@dataclass(frozen=True, slots=True)
class AlgorithmSummary:
    """The model that answered."""

    name: str
    version: str
    manufacturer: str
    bundle_sha256: str
    device_uid: str
    demonstration: bool


@dataclass(frozen=True, slots=True)
class ResultSummary:
    """One version of a study's result; never verified by a physician, so every copy of it is preliminary.

    reason_code and reason_text: why it is neither positive nor negative, empty where it is. narrative: the report's
    own paragraph.
    """

    format: int
    version: int
    made_at: str
    patient: PatientSummary
    order: OrderSummary
    study: StudySummary
    outcome: str
    probability: float | None
    reason_code: str
    reason_text: str
    narrative: str
    views: tuple[ViewSummary, ...]
    algorithm: AlgorithmSummary | None
