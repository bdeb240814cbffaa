"""Reading a result in brief, and what FHIR and HL7 copies of it have in common."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from dicom_node.core.errors import DestinationRefused
from dicom_node.core.summary import FORMAT, SUMMARY_FILE, CodeSummary, ResultSummary

if TYPE_CHECKING:
    from pathlib import Path

    from dicom_node.destination_settings import Priority

_ADAPTER = TypeAdapter(ResultSummary)
_TIME = re.compile(r"(\d{2})(\d{2})?(\d{2})?")

FRACTURE = CodeSummary("125605004", "SCT", "Fracture of bone")
PROBABILITY = CodeSummary("122157", "DCM", "Probability")
IMAGING_STUDY = CodeSummary("18748-4", "LN", "Diagnostic imaging study")
IMPRESSION = CodeSummary("19005-8", "LN", "Radiology Imaging study [Impression]")
PRESENCE = {
    "positive": CodeSummary("52101004", "SCT", "Present"),
    "negative": CodeSummary("272519000", "SCT", "Absent"),
    "inconclusive": CodeSummary("373068000", "SCT", "Undetermined"),
}


def read_summary(folder: Path) -> ResultSummary:
    """Return a version's result in brief. Raises DestinationRefused where there is none that can be read."""
    try:
        found = _ADAPTER.validate_json((folder / SUMMARY_FILE).read_bytes())
    except (FileNotFoundError, ValidationError):
        found = None
    if found is None or found.format != FORMAT:
        message = f"{SUMMARY_FILE} of this result is missing or of another format: make the result again"
        raise DestinationRefused(message)
    return found


def priority(result: ResultSummary, positive: Priority) -> Priority:
    """Return the priority that a result asks for.

    Only a positive result raises it. No answer lowers it: routine is said where the model has nothing to add, and the
    order keeps its own.
    """
    return positive if result.outcome == "positive" else "routine"


def percent(probability: float) -> float:
    """Return a probability in percent, to one decimal."""
    return round(100.0 * probability, 1)


def date_of(text: str) -> str:
    """Return a DICOM date as YYYYMMDD, empty where it is none."""
    return text if _is_written(text, "%Y%m%d") and len(text) == 8 else ""  # noqa: PLR2004 - strptime takes shorter ones


def time_of(text: str) -> str:
    """Return a DICOM time as HHMMSS without its fraction, empty where it is none."""
    found = _TIME.match(text)
    whole = "".join(part or "00" for part in found.groups()) if found else ""
    return whole if _is_written(whole, "%H%M%S") else ""


def _is_written(text: str, form: str) -> bool:
    try:
        datetime.strptime(text, form)  # noqa: DTZ007 - asked for its form only
    except ValueError:
        return False
    return True
