"""An instance's identifying attributes, its role, and when a study is closed."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from dicom_node.core.findings import Reason


@dataclass(frozen=True, slots=True)
class InstanceHeader:
    """The few attributes of a received data set that the node itself reads; all text, empty where absent."""

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    transfer_syntax_uid: str
    modality: str = ""
    body_part: str = ""
    manufacturer: str = ""
    has_pixel_data: bool = False
    patient_id: str = field(default="", repr=False)  # only ever written down as a keyed digest


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """What is known of a C-STORE before its data set: the command's UIDs, the transfer syntax, the sender."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    calling_ae: str
    peer: str


@dataclass(frozen=True, slots=True)
class Received(StoreRequest):
    """One C-STORE as a whole: the request and the encoded data set."""

    dataset: bytes


class Role(str, Enum):
    """What an instance is to this node."""

    VIEW = "view"  # a radiograph: analysed, part of the study's result
    KEPT = "kept"  # kept and listed with its reason, never analysed
    OWN_RESULT = "own-result"  # one of our own results that came back


@dataclass(frozen=True, slots=True)
class Judgement:
    """An instance's role and, where it is not a view, the reason."""

    role: Role
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class Quiet:
    """When a study counts as complete: no new view for `quiet_s`, or `max_wait_s` since its first unreported view."""

    quiet_s: float
    max_wait_s: float

    def closes_at(self, first_view_at: float, last_view_at: float) -> float:
        """Return the time (epoch seconds) at which a study with these rows is closed."""
        return min(last_view_at + self.quiet_s, max(first_view_at + self.max_wait_s, last_view_at))
