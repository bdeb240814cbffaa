"""Printing without a library: for commands that must answer at once."""

from __future__ import annotations

import json
from datetime import datetime


def print_json(value: object) -> None:
    """Print a value as JSON."""
    print(json.dumps(value, indent=2, default=str))


def when(seconds: float | None) -> str:
    """Return a ledger time as local date and time."""
    if seconds is None:
        return ""
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def age(seconds: float) -> str:
    """Return a span of time in its largest unit, such as "3 min"."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def lasts(days: float) -> str:
    """Return how long a certificate is still good, or since when it is not."""
    return f"expired {age(-days * 86400)} ago" if days < 0 else f"good for {age(days * 86400)}"


def counted(number: int, thing: str) -> str:
    """Return a number with its noun."""
    plural = f"{thing[:-1]}ies" if thing.endswith("y") else f"{thing}s"
    return f"1 {thing}" if number == 1 else f"{number} {plural}"
