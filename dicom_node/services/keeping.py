"""The loop that looks after the disk: watermarks, the reserve, and the purge of what is proved delivered."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING

import structlog

from dicom_node.core.errors import Rejected
from dicom_node.dimse import status
from dicom_node.ledger import purging, running
from dicom_node.services.threads import pause

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence

    from dicom_node.core.study import StoreRequest
    from dicom_node.dimse.scp import Sink
    from dicom_node.ledger.blanks import Blanks
    from dicom_node.ledger.database import Database
    from dicom_node.ledger.purging import Holdings
    from dicom_node.ledger.space import Space
    from dicom_node.ledger.spool import StateFolders

log = structlog.get_logger(__name__)

_EVERY_S = 5.0
_PURGE_EVERY_S = 3600.0
_BATCH = 200
_BLANKS_AGAIN_S = 1.0
_DAY_S = 86400.0


class Keeper:
    """Keeps room on the disk; purges one study a transaction, files first, so that a crash is only done again."""

    def __init__(
        self,
        ledger: Database,
        folders: StateFolders,
        space: Space,
        keep_days: float,
        clock: Callable[[], float],
        stopping: threading.Event,
    ) -> None:
        self._ledger = ledger
        self._folders = folders
        self._space = space
        self._keep_days = keep_days
        self._clock = clock
        self._stopping = stopping

    def run(self) -> None:
        """Look after the disk until the node stops."""
        purge_at = time.monotonic()
        while not pause(self._stopping, _EVERY_S):
            self.tend()
            if self._keep_days and time.monotonic() >= purge_at:
                self.purge_due()
                purge_at = time.monotonic() + _PURGE_EVERY_S

    def tend(self) -> None:
        """Look at the watermarks once."""
        before, done = self._space.problem, self._space.tend()
        if done:
            log.warning("space.reserve" if done != "recovered" else "device.recovered", done=done)
        elif before:
            log.warning("space.low", reason=before)

    def purge_due(self) -> int:
        """Purge every study whose results were proved delivered keep_days ago; returns how many.

        Days in which the node ran: a clock that was set ahead makes nothing old.
        """
        with self._ledger.transaction() as connection:
            ran = running.read(connection).until(self._clock())
        position, purged = 0, 0

        def is_old(at: float) -> bool:
            return ran.since(at) > self._keep_days * _DAY_S

        while not self._stopping.is_set():
            with self._ledger.transaction() as connection:
                ids, after = purging.due(connection, position, is_old, _BATCH)
            purged += sum(self._try_to_purge(study_id, is_old) for study_id in ids)
            if after is None:
                break
            position = after
        return purged

    def purge_on_request(self, study_instance_uid: str) -> int:
        """Purge one study by hand or, with an empty UID, what is due; returns how many studies."""
        if study_instance_uid:
            return int(self.purge_study(study_instance_uid))
        return self.purge_due() if self._keep_days else 0

    def purge_study(self, study_instance_uid: str) -> bool:
        """Purge one study because a person asks for it, proved delivered or given up; false where it is in work."""
        with self._ledger.transaction() as connection:
            study_id = purging.answered(connection, study_instance_uid)
            if study_id is None:
                return False
            held = purging.holdings(connection, study_id)
            self._remove(held)
            purging.note_purged(connection, held, self._clock(), "by hand")
        log.info("study.purged", study=study_instance_uid, instances=len(held.spool_keys), by_hand=True)
        return True

    def _try_to_purge(self, study_id: int, is_old: Callable[[float], bool]) -> bool:
        """Purge one study; one whose files cannot be removed stays, and is tried again with the next purge."""
        try:
            return self._purge(study_id, is_old)
        except OSError as error:
            log.error("purge.failed", cause=str(error))  # noqa: TRY400 - said in one line
            return False

    def _purge(self, study_id: int, is_old: Callable[[float], bool]) -> bool:
        with self._ledger.transaction() as connection:
            if not purging.is_due(connection, study_id, is_old):
                return False  # something came for it meanwhile
            held = purging.holdings(connection, study_id)
            self._remove(held)
            days = f"{self._keep_days:g} days"
            purging.note_purged(connection, held, self._clock(), f"delivered everywhere more than {days} ago")
        log.info("study.purged", study=held.study_instance_uid, instances=len(held.spool_keys))
        return True

    def _remove(self, held: Holdings) -> None:
        for key in held.spool_keys:
            self._folders.instance_path(key).unlink(missing_ok=True)
        for folder in held.folders:
            shutil.rmtree(self._folders.root / folder, ignore_errors=True)


def keep_blanks(blanks: Blanks, stopping: threading.Event) -> None:
    """Keep empty files ready for what comes, until the node stops; a full disk is the receiving thread's to report."""
    while not stopping.is_set():
        try:
            blanks.fill()
        except OSError as error:
            log.debug("blanks.failed", cause=type(error).__name__)
            stopping.wait(_BLANKS_AGAIN_S)
        blanks.wait(_EVERY_S)
    blanks.clear()


class GuardedIntake:
    """The intake behind the state of the disk: after a failure of the device nothing is begun until it works again."""

    def __init__(self, open_sink: Callable[[StoreRequest], Sink], space: Space) -> None:
        self._open_sink = open_sink
        self._space = space

    def open(self, request: StoreRequest) -> Sink:
        """Begin to keep an instance. Raises Rejected with the DIMSE status for the peer."""
        if self._space.has_failed():
            raise Rejected(self._space.problem, status.OUT_OF_RESOURCES)
        try:
            return GuardedSink(self, self._open_sink(request))
        except Rejected as rejection:
            self.watch(rejection)
            raise

    def watch(self, rejection: Rejected) -> None:
        """See whether a rejection was the disk's doing."""
        if self._space.note_failure(rejection.__cause__):
            log.error("device.failed", reason=self._space.problem)


class GuardedSink:
    """One instance on its way into the spool, watched for failures of the disk."""

    def __init__(self, intake: GuardedIntake, sink: Sink) -> None:
        self._intake = intake
        self._sink = sink

    def write(self, pieces: Sequence[memoryview]) -> None:
        """Append the next pieces of the data set. Raises Rejected."""
        try:
            self._sink.write(pieces)
        except Rejected as rejection:
            self._intake.watch(rejection)
            raise

    def finish(self) -> object:
        """Keep the instance, durably. Raises Rejected."""
        try:
            return self._sink.finish()
        except Rejected as rejection:
            self._intake.watch(rejection)
            raise

    def abort(self) -> None:
        """Keep nothing."""
        self._sink.abort()
