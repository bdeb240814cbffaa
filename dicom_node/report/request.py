"""What a report is made from, and what comes out: plain frozen values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dicom_node.core.identifiers import derived_uid
from dicom_node.report.identity import text_of

if TYPE_CHECKING:
    from datetime import datetime

    import numpy as np
    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

    from dicom_node.core.decision import Gate
    from dicom_node.core.findings import StudyFinding, ViewFinding
    from dicom_node.core.radiograph import EvidenceMap

BASIC_TEXT_SR = "1.2.840.10008.5.1.4.1.1.88.11"
ENHANCED_SR = "1.2.840.10008.5.1.4.1.1.88.22"
COMPREHENSIVE_SR = "1.2.840.10008.5.1.4.1.1.88.33"
COMPREHENSIVE_3D_SR = "1.2.840.10008.5.1.4.1.1.88.34"
SR_LADDER = (COMPREHENSIVE_3D_SR, COMPREHENSIVE_SR, ENHANCED_SR, BASIC_TEXT_SR)
"""The SR classes from best to most widely taken: the alternatives of the slot "sr"."""

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
GRAYSCALE_PRESENTATION_STATE = "1.2.840.10008.5.1.4.1.1.11.1"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
JPEG_LS_LOSSLESS = "1.2.840.10008.1.2.4.80"
NO_MODEL = "no-model"


@dataclass(frozen=True)
class SourceView:
    """One image of the study, as listed in the manifest of this version.

    header: its data set without pixel data; display: its grey rendering (`display.to_display`), None where it could not
    be decoded; shown_map: the map to draw over it, None where there is none.
    """

    header: Dataset
    finding: ViewFinding
    display: NDArray[np.uint8] | None
    shown_map: EvidenceMap | None


@dataclass(frozen=True)
class Predecessor:
    """A report of the version before, by its UIDs; there is one for each rung of the SR ladder."""

    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    study_instance_uid: str


@dataclass(frozen=True)
class ReportOptions:
    """What a site may choose.

    series_number_base: the Secondary Capture series gets it, the SR the next (presentation states: + 2).
    negative_heatmaps: draw a heatmap for negative views too. compressed: offer each page losslessly compressed first.
    presentation_states: write one for each view with a region.
    """

    series_number_base: int = 9000
    negative_heatmaps: bool = False
    compressed: bool = True
    presentation_states: bool = True


@dataclass(frozen=True)
class ReportRequest:
    """Everything a result is made from; the same request gives the same bytes.

    version counts from 1. made_at is time-zone aware and comes from the ledger, since composing has no clock.
    gate: the thresholds drawn on the page, None where there is no model.
    """

    study_instance_uid: str
    version: int
    made_at: datetime
    finding: StudyFinding
    views: tuple[SourceView, ...]
    gate: Gate | None = None
    predecessors: tuple[Predecessor, ...] = ()
    options: ReportOptions = field(default_factory=ReportOptions)

    def __post_init__(self) -> None:
        if not self.views:
            message = f"study {self.study_instance_uid}: a report needs at least one image to take the patient from"
            raise ValueError(message)
        if self.made_at.tzinfo is None:
            message = f"study {self.study_instance_uid}: made_at needs a time zone"
            raise ValueError(message)

    @property
    def source(self) -> Dataset:
        """The header that patient and study are taken from: the first that names a patient, else the first."""
        return next((view.header for view in self.views if text_of(view.header, "PatientID")), self.views[0].header)

    def predecessor(self, sop_class_uid: str) -> Predecessor | None:
        """Return the report of this class that the version before holds, or its best one where it has none such."""
        same = (before for before in self.predecessors if before.sop_class_uid == sop_class_uid)
        return next(same, self.predecessors[0] if self.predecessors else None)

    @property
    def digest(self) -> str:
        """The digest that names the model in every UID, or the word for none."""
        return self.finding.model.bundle_sha256 if self.finding.model else NO_MODEL

    def uid(self, kind: str, source: str = "") -> str:
        """Return the UID of one object or series of this version."""
        return derived_uid(self.study_instance_uid, self.digest, f"v{self.version}", kind, source)

    def tracking_uid(self, kind: str, source: str = "") -> str:
        """Return a Tracking Unique Identifier: without the version, so that it is the same in every revision."""
        return derived_uid(self.study_instance_uid, self.digest, "tracking", kind, source)


@dataclass(frozen=True)
class ResultObject:
    """One finished object; kind is "sc", "pr", or "sr" and "sr-33", "sr-22", "sr-11" for the rungs of the report.

    slot: objects that share one are alternatives of each other, best first; a destination gets the first it accepts.
    """

    kind: str
    slot: str
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    dataset: Dataset
