"""Times, spans and sizes as a person reads them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from dicom_node.core.findings import whole_percent

_OUTCOMES = {"positive": "Positive", "negative": "Negative", "inconclusive": "Inconclusive"}
_WORDS = {"not-analysed": "Not analysed", "waiting": "Waiting for images", "composing": "Being written"}
_STATES = {"failed": "Failed", "superseded": "Superseded"}
_GIB = 1024.0


def when(seconds: float | None) -> str:
    """Return a ledger time as local date and time."""
    if seconds is None:
        return ""
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def iso(seconds: float | None) -> str:
    """Return a ledger time for a <time> element."""
    return "" if seconds is None else datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")


def age(seconds: float) -> str:
    """Return a span of time in its largest unit; below a minute it is not counted, so that a calm page stands still."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return "under 1 min"


def mebibytes(size: float) -> str:
    """Return MiB, or GiB where there are many."""
    return f"{size / _GIB:.1f} GiB" if size >= _GIB else f"{size:.0f} MiB"


def outcome(row: dict[str, Any]) -> str:
    """Return a version's outcome, or what it waits for."""
    key = str(row.get("outcome") or row.get("state") or "")
    return {**_OUTCOMES, **_WORDS, **_STATES}.get(key, key)


def tone(row: dict[str, Any]) -> str:
    """Return which of the page's few colours an outcome has."""
    return str(row.get("outcome") or row.get("state") or "none")


def percent(value: float | None) -> str:
    """Return a probability."""
    return "" if value is None else whole_percent(value)
