"""What the page needs from outside: the node's own word, an echo of a destination, its settings and the clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dicom_node.ledger.spool import StateFolders
    from dicom_node.settings import Settings


@dataclass(frozen=True, slots=True)
class NodeWord:
    """What the node says of itself; `silence` is one line on why it says nothing, None where it answered.

    problem: what keeps it from accepting, in words; empty where nothing does, or a person paused it.
    workers: connected workers; late_loops: loops that hang; running_for_s: seconds since it started;
    refused: connections and associations that it refused since then, by why.
    """

    silence: str | None
    accepting: bool = False
    problem: str = ""
    workers: int = 0
    late_loops: tuple[str, ...] = ()
    bundle_sha256: str = ""
    running_for_s: float = 0.0
    refused: tuple[tuple[str, int], ...] = ()

    @property
    def running(self) -> bool:
        """True where it answered."""
        return self.silence is None


@dataclass(frozen=True, slots=True)
class Destination:
    """One place that results go to: its name, and where it is, in words."""

    name: str
    address: str


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate in use and the days until it expires; None where its file cannot be read."""

    name: str
    days: float | None


@dataclass(frozen=True, slots=True)
class BundleWord:
    """The model bundle as it lies on the disk; `problem` is one line on why it cannot be used."""

    title: str
    sha256: str
    demonstration: bool = False
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Outside:
    """Everything that the page asks others for; `echo` returns None for an answer, else one line on what is wrong."""

    settings: Settings
    config: Path
    folders: StateFolders
    destinations: tuple[Destination, ...]
    ask_node: Callable[[], NodeWord]
    echo: Callable[[str], str | None]
    certificates: Callable[[], tuple[Certificate, ...]]
    bundle: Callable[[], BundleWord]
    clock: Callable[[], float]
