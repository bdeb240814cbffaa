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
from dicom_node.ledger.spool import data_set_digest
from dicom_node.services.threads import pause

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from pathlib import Path

    from dicom_node.core.study import InstanceHeader, Quiet
    from dicom_node.ledger.database import Database
    from dicom_node.ledger.spool import StateFolders
    from dicom_node.ledger.storage import Kept, Loss

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
                has_row = known.get(f"{folder.name}/{file.stem}") == "spool"
                if not has_row and self._is_earlier(file.stat().st_mtime):
                    adopted += self._adopt(file)
        return adopted

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
        loss = self._loss(kept)
        with self._ledger.transaction() as connection:
            write_progress(connection, "scrub", kept.instance_id)
            is_lost = loss is not None and storage.note_loss(connection, kept.instance_id, loss, self._clock())
            if is_lost:
                self._folders.set_aside(self._folders.instance_path(kept.spool_key))
        if is_lost:
            log.error("instance.damaged", study=kept.study_instance_uid, sop_instance=kept.sop_instance_uid, loss=loss)
        return kept.size

    def _check_ledger(self) -> None:
        """Read the ledger's own file once a walk: one too large to be checked at the start is checked here."""
        if not Overview(self._folders.ledger).is_sound():
            log.error("ledger.damaged", reason="stop the node and put a backup back (`dicom-node restore`)")

    def _loss(self, kept: Kept) -> Loss | None:
        path = self._folders.instance_path(kept.spool_key)
        try:
            found = data_set_digest(path, kept.size)
        except FileNotFoundError:
            return "missing"
        return None if found == kept.sha256 else "damaged"

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
