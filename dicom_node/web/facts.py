"""How things stand at one moment: the ledger's rows, the node's word, the disk, the bundle, the certificates."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dicom_node.core.errors import LedgerError
from dicom_node.ledger import recent
from dicom_node.ledger.standing import standing

if TYPE_CHECKING:
    from pathlib import Path

    from dicom_node.web.outside import BundleWord, Certificate, NodeWord, Outside

_MIB = 1 << 20
_ENOUGH_RESERVES = 2.0


@dataclass(frozen=True, slots=True)
class Disk:
    """Room on the state folder's file system, MiB; down to the reserve no new association is accepted."""

    free: float
    total: float
    reserve: float

    @property
    def is_full(self) -> bool:
        """True where images are refused."""
        return self.free <= self.reserve

    @property
    def is_filling(self) -> bool:
        """True where that is near, or so."""
        return self.is_full or self.free < _ENOUGH_RESERVES * self.reserve


@dataclass(frozen=True, slots=True)
class Queue:
    """What waits in one place: how many, since when (epoch seconds) the oldest, how many parked and given up."""

    waiting: int = 0
    oldest_at: float | None = None
    parked: int = 0
    dead: int = 0
    last_error: str | None = None


@dataclass(frozen=True, slots=True)
class Rows:
    """What the ledger says."""

    jobs: Queue
    destinations: dict[str, Queue]
    open_studies: int
    open_since: float | None
    failed: int
    failed_results: list[dict[str, Any]]
    latest: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Facts:
    """All of it; rows and disk are None where there are none yet, ledger_problem says why the ledger is unreadable."""

    now: float
    node: NodeWord
    bundle: BundleWord
    rows: Rows | None = None
    ledger_problem: str | None = None
    disk: Disk | None = None
    certificates: tuple[Certificate, ...] = field(default=())

    @property
    def started_once(self) -> bool:
        """False on a machine where no node has run with this configuration yet."""
        return self.rows is not None or self.ledger_problem is not None


def gather(outside: Outside) -> Facts:
    """Ask everyone; nothing is changed."""
    rows, problem = None, None
    if outside.folders.ledger.exists():
        try:
            rows = _rows(outside)
        except LedgerError as error:
            problem = str(error)
    return Facts(
        now=outside.clock(),
        node=outside.ask_node(),
        bundle=outside.bundle(),
        rows=rows,
        ledger_problem=problem,
        disk=disk_of(outside.folders.root, _reserve_mib(outside)),
        certificates=outside.certificates(),
    )


def disk_of(folder: Path, reserve_mib: float) -> Disk | None:
    """Return the room in a folder's file system; None where there is no folder yet."""
    try:
        status = os.statvfs(folder)
    except OSError:
        return None
    block = status.f_frsize / _MIB
    return Disk(status.f_bavail * block, status.f_blocks * block, reserve_mib)


def _reserve_mib(outside: Outside) -> int:
    return max(outside.settings.node.reserve_mib, outside.settings.keep.soft_reserve_mib)


def _rows(outside: Outside) -> Rows:
    names = tuple(one.name for one in outside.destinations)
    with recent.reading(outside.folders.ledger) as connection:
        found = standing(connection, names)
        number, since = recent.open_studies(connection)
        failed, failures = recent.failed_results(connection)
        return Rows(
            jobs=_queue(found["jobs"]),
            destinations={name: _queue(queue) for name, queue in found["destinations"].items()},
            open_studies=number,
            open_since=since,
            failed=failed,
            failed_results=failures,
            latest=recent.latest_results(connection, outside.settings.page.results),
        )


def _queue(row: dict[str, Any]) -> Queue:
    return Queue(row["waiting"], row["oldest_at"], row["parked"], row["dead"], row.get("last_error"))
