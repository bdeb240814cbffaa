"""What a check is given, and what it says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from dicom_node.ledger.spool import StateFolders
from dicom_node.settings import Settings


class State(str, Enum):
    """How much a finding matters."""

    GOOD = "good"
    NOTE = "note"  # as it should be for a trial, not for service
    BAD = "bad"
    UNKNOWN = "unknown"  # cannot be seen from here, or by this user


@dataclass(frozen=True, slots=True)
class Finding:
    """The answer of one check: what was seen and, unless it is good, what to do."""

    check: str
    state: State
    seen: str
    do: str = ""


@dataclass(frozen=True, slots=True)
class Patient:
    """The installation under examination; `status` is the running node's own answer, or None."""

    config: Path
    settings: Settings
    folders: StateFolders
    status: dict[str, Any] | None

    @property
    def pid(self) -> int | None:
        """The process id of the running node."""
        return int(self.status["pid"]) if self.status else None


def good(check: str, seen: str) -> Finding:
    """Return a finding that needs nothing."""
    return Finding(check, State.GOOD, seen)


def note(check: str, seen: str, do: str) -> Finding:
    """Return a finding that may be meant so."""
    return Finding(check, State.NOTE, seen, do)


def bad(check: str, seen: str, do: str) -> Finding:
    """Return a finding that keeps the node from its work, or endangers it."""
    return Finding(check, State.BAD, seen, do)


def unknown(check: str, seen: str, do: str = "") -> Finding:
    """Return that this could not be examined."""
    return Finding(check, State.UNKNOWN, seen, do)
