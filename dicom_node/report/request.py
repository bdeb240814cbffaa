"""What a report is made from, and what comes out: plain frozen values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dicom_node.core.identifiers import derived_uid

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
"""The SR classes from best to most widely taken; a destination gets the first that it accepts."""

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
RLE_LOSSLESS = "1.2.840.10008.1.2.5"
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
    """The report of the version before, by its UIDs."""

    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    study_instance_uid: str


@dataclass(frozen=True)
class ReportOptions:
    """What a site may choose.

    series_number_base: the Secondary Capture series gets it, the SR the next (presentation states: + 2).
    negative_heatmaps: draw a heatmap for negative views too. sc_transfer_syntax_uid: explicit little endian or RLE.
    """

    sr_sop_class_uid: str = COMPREHENSIVE_3D_SR
    series_number_base: int = 9000
    sc_transfer_syntax_uid: str = EXPLICIT_LITTLE
    negative_heatmaps: bool = False

    def __post_init__(self) -> None:
        if self.sr_sop_class_uid not in SR_LADDER:
            message = f"{self.sr_sop_class_uid} is not an SR class this node writes; use one of {', '.join(SR_LADDER)}"
            raise ValueError(message)
        if self.sc_transfer_syntax_uid not in {EXPLICIT_LITTLE, RLE_LOSSLESS}:
            message = (
                f"{self.sc_transfer_syntax_uid}: secondary captures are written as {EXPLICIT_LITTLE} or {RLE_LOSSLESS}"
            )
            raise ValueError(message)


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
    predecessor: Predecessor | None = None
    options: ReportOptions = field(default_factory=ReportOptions)

    def __post_init__(self) -> None:
        if not self.views:
            message = f"study {self.study_instance_uid}: a report needs at least one image to take the patient from"
            raise ValueError(message)
        if self.made_at.tzinfo is None:
            message = f"study {self.study_instance_uid}: made_at needs a time zone"
            raise ValueError(message)

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
    """One finished object; kind is "sc" or "sr" (a presentation state will be "pr").

    slot: objects that share one are alternatives of each other, best first; a destination gets the first it accepts.
    """

    kind: str
    slot: str
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    dataset: Dataset
