"""One study as its page shows it: results, pictures, images, deliveries, and everything that happened, in order."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from dicom_node.web.words import outcome, percent, tone

_EVENTS = {
    "instance.stored": "Image received",
    "instance.conflict": "Image received under a UID that another had",
    "instance.refused": "Image refused",
    "image.analysed": "Image analysed",
    "study.closed": "Study closed",
    "result.published": "Result written",
    "result.failed": "Result failed",
    "delivery.done": "Delivered",
    "delivery.dead": "Delivery given up",
    "study.purged": "Images removed",
    "queue.retried": "Tried again by a person",
    "queue.parked": "Parked by a person",
    "queue.revived": "Taken up again by a person",
}
_STATES = {"ready": "waits", "sending": "is being sent", "done": "delivered", "dead": "given up"}
_MODALITY = re.compile(r"[A-Z]{2,4}")
_BAD = {"instance.refused", "result.failed", "delivery.dead"}


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the timeline."""

    at: float
    what: str
    detail: str
    bad: bool


@dataclass(frozen=True, slots=True)
class ImageRow:
    """One received instance and what was found in it, or why nothing was looked for."""

    sop_instance_uid: str
    modality: str
    at: float
    answer: str
    tone: str
    reason: str


@dataclass(frozen=True, slots=True)
class VersionRow:
    """One version of the result."""

    number: int
    outcome: str
    tone: str
    probability: str
    reason: str
    closed_at: float
    published_at: float | None


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """One version's way to one destination."""

    version: int
    destination: str
    state: str
    bad: bool
    attempts: int
    last_error: str
    done_at: float | None


@dataclass(frozen=True, slots=True)
class StudyScreen:
    """Everything about one study; pictures are SOP Instance UIDs with their captions."""

    uid: str
    name: str
    state: str
    versions: tuple[VersionRow, ...]
    pictures: tuple[tuple[str, str], ...]
    images: tuple[ImageRow, ...]
    deliveries: tuple[DeliveryRow, ...]
    timeline: tuple[Step, ...]


def show_study(found: dict[str, Any], pictures: list[dict[str, Any]], name: str) -> StudyScreen:
    """Return a study as the overview found it, newest version first."""
    return StudyScreen(
        uid=found["study_instance_uid"],
        name=name,
        state="open: more images may come" if found["state"] == "open" else "closed",
        versions=tuple(_version(row) for row in reversed(found["versions"])),
        pictures=tuple((row["sop_instance_uid"], _caption(number)) for number, row in enumerate(pictures)),
        images=tuple(_image(row) for row in found["instances"]),
        deliveries=tuple(_delivery(row) for row in found["deliveries"]),
        timeline=_timeline(found),
    )


def _caption(number: int) -> str:
    return "Summary page" if number == 0 else f"Heatmap {number}"


def _version(row: dict[str, Any]) -> VersionRow:
    return VersionRow(
        number=row["version"],
        outcome=outcome(row),
        tone=tone(row),
        probability=percent(row["probability"]),
        reason=row["reason_text"] or "",
        closed_at=row["closed_at"],
        published_at=row["published_at"],
    )


def _image(row: dict[str, Any]) -> ImageRow:
    finding = json.loads(row["finding"]) if row["finding"] else {}
    reason = (finding.get("reason") or {}).get("text") or row["reason_text"] or ""
    number = percent(finding.get("probability"))
    waits = "Not analysed" if row["role"] != "view" else "Waiting"
    answer = outcome(finding) or waits
    return ImageRow(
        sop_instance_uid=row["sop_instance_uid"],
        modality=_modality(row),
        at=row["received_at"],
        answer=f"{answer} {number}".strip(),
        tone=str(finding.get("outcome", "none")),
        reason=reason,
    )


def _modality(row: dict[str, Any]) -> str:
    """Return a received modality where it looks like one: it is a sender's word, and might be anything."""
    value = str(row["modality"])
    return value if _MODALITY.fullmatch(value) else "other"


def _delivery(row: dict[str, Any]) -> DeliveryRow:
    return DeliveryRow(
        version=row["version"],
        destination=row["destination"],
        state=_STATES.get(row["state"], row["state"]),
        bad=row["state"] == "dead" or (row["state"] == "ready" and bool(row["last_error"])),
        attempts=row["attempts"],
        last_error=row["last_error"] or "",
        done_at=row["done_at"],
    )


def _timeline(found: dict[str, Any]) -> tuple[Step, ...]:
    """Return what the ledger noted, and the images' arrivals where it noted none, in order."""
    noted = [Step(row["at"], _event(row), row["detail"], row["event"] in _BAD) for row in found["history"]]
    if not any(row["event"] == "instance.stored" for row in found["history"]):
        noted += [Step(row["received_at"], "Image received", _modality(row), bad=False) for row in found["instances"]]
    return tuple(sorted(noted, key=lambda step: step.at))


def _event(row: dict[str, Any]) -> str:
    event = str(row["event"])
    return _EVENTS.get(event, event.replace(".", " ").replace("-", " ").capitalize())
