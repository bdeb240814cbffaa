"""The slow walk over the spool: files that no row knows are taken up or set aside, and every digest is read again."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import structlog

from dicom_node.core.errors import MalformedDataSet
from dicom_node.core.identifiers import SpoolKey, is_usable_uid, spool_key
from dicom_node.intake.homing import spooled
from dicom_node.intake.judge import judge
from dicom_node.ledger import audit, instances, storage
from dicom_node.ledger.instances import Arrival
from dicom_node.ledger.overview import Overview
from dicom_node.ledger.progress import read_progress, write_progress
from dicom_node.services.losses import loss_of, set_aside
from dicom_node.services.threads import pause

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from pathlib import Path

    from dicom_node.core.study import InstanceHeader, Quiet
    from dicom_node.ledger.database import Database
    from dicom_node.ledger.spool import StateFolders
    from dicom_node.ledger.storage import Kept

log = structlog.get_logger(__name__)

_PIECE = 1 << 20
_REST_S = 600.0  # between two walks, and where there is nothing to walk over
_FUTURE_S = 60.0
FOUND = "(found in the spool)"
"""Stands for the calling AE title of an instance whose sender was not written down."""


class Scrubber:
    """Adopts what a crash left without a row, then reads instance after instance at a bounded rate."""

    def __init__(
        self,
        ledger: Database,
        folders: StateFolders,
        recording: tuple[Quiet, str],
        mib_per_s: float,
        clock: Callable[[], float],
        stopping: threading.Event,
    ) -> None:
        self._ledger = ledger
        self._folders = folders
        self._quiet, self._bundle_sha256 = recording
        self._bytes_per_s = mib_per_s * _PIECE
        self._clock = clock
        self._stopping = stopping
        self._started_at = clock()

    def run(self) -> None:
        """Walk until the node stops."""
        self.adopt_orphans()
        while self._bytes_per_s and not self._stopping.is_set():
            size = self.scrub_next()
            pause(self._stopping, _REST_S if size is None else size / self._bytes_per_s)

    def adopt_orphans(self) -> int:
        """Take up every file that was whole before this start and has no row; returns how many were recorded."""
        adopted = 0
        for folder in sorted(self._folders.instances.iterdir()):
            if self._stopping.is_set() or not folder.is_dir():
                continue
            with self._ledger.transaction() as connection:
                known = storage.storage_of(connection, folder.name)
            for file in sorted(folder.iterdir()):
                if known.get(f"{folder.name}/{file.stem}") != "spool":
                    adopted += self._try_to_adopt(file)
        return adopted

    def _try_to_adopt(self, file: Path) -> bool:
        """Take up a file that was there before this start; one that cannot be read is left for a person."""
        try:
            return self._is_earlier(file.stat().st_mtime) and self._adopt(file)
        except OSError as error:
            log.error("file.unreadable", file=file.name, cause=str(error.strerror))  # noqa: TRY400 - in one line
            return False

    def _is_earlier(self, written: float) -> bool:
        """Tell whether a file was there before this start; what is dated in the future was, and the clock was wrong."""
        return not self._started_at <= written <= self._clock() + _FUTURE_S

    def scrub_next(self) -> int | None:
        """Read the next instance's file again; returns its size in bytes, None where the walk is at its end."""
        with self._ledger.transaction() as connection:
            kept = storage.next_kept(connection, read_progress(connection, "scrub"))
            if kept is None:
                write_progress(connection, "scrub", 0)
        if kept is None:
            self._check_ledger()
            return None
        try:
            self._scrub(kept)
        except OSError as error:
            self._note_unreadable(kept, error)
        return kept.size

    def _scrub(self, kept: Kept) -> None:
        loss = loss_of(self._folders, kept)
        with self._ledger.transaction() as connection:
            write_progress(connection, "scrub", kept.instance_id)
            is_lost = loss is not None and set_aside(connection, self._folders, kept, loss, self._clock())
        if is_lost:
            log.error("instance.damaged", study=kept.study_instance_uid, sop_instance=kept.sop_instance_uid, loss=loss)

    def _note_unreadable(self, kept: Kept, error: OSError) -> None:
        """Say that a file cannot be read, and go on behind it; it stays where it is: it may be readable again."""
        uids = {"study": kept.study_instance_uid, "sop_instance": kept.sop_instance_uid}
        detail = f"its file cannot be read ({error.strerror}): look at the disk"
        with self._ledger.transaction() as connection:
            write_progress(connection, "scrub", kept.instance_id)
            audit.note(connection, self._clock(), "instance.unreadable", detail=detail, **uids)
        log.error("instance.unreadable", reason=detail, **uids)

    def _check_ledger(self) -> None:
        """Read the ledger's own file once a walk: one too large to be checked at the start is checked here."""
        if not Overview(self._folders.ledger).is_sound():
            log.error("ledger.damaged", reason="stop the node and put a backup back (`dicom-node restore`)")

    def _adopt(self, file: Path) -> bool:
        try:
            header, data = spooled(file)
        except (MalformedDataSet, ValueError):
            self._set_aside(file)
            return False
        digest, size = hashlib.sha256(data).hexdigest(), len(data)
        key = spool_key(header.sop_instance_uid, digest)
        usable = is_usable_uid(header.sop_instance_uid) and is_usable_uid(header.study_instance_uid)
        if not usable or self._folders.instance_path(key) != file:
            self._set_aside(file)
            return False
        self._record(header, digest, key, size)
        return True

    def _record(self, header: InstanceHeader, digest: str, key: SpoolKey, size: int) -> None:
        with self._ledger.transaction() as connection:
            own = instances.is_own_result(connection, header.sop_instance_uid)
            arrival = Arrival(header, judge(header, is_own_uid=own), digest, size, key, FOUND)
            instances.record(connection, arrival, self._quiet, self._bundle_sha256, self._clock())
        log.warning("instance.adopted", study=header.study_instance_uid, sop_instance=header.sop_instance_uid)

    def _set_aside(self, file: Path) -> None:
        self._folders.set_aside(file)
        with self._ledger.transaction() as connection:
            detail = f"{file.name}: no whole instance; set aside in {self._folders.quarantine.name}/"
            audit.note(connection, self._clock(), "file.set-aside", detail=detail)
        log.error("file.set-aside", file=file.name)
