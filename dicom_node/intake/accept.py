"""Accepting an instance: spool file and ledger row are on disk before the peer hears 0x0000."""

from __future__ import annotations

import hashlib
import os
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from dicom_node.core.errors import LedgerUnavailable, MalformedDataSet, Rejected
from dicom_node.core.identifiers import UID_ROOT, is_usable_uid, spool_key
from dicom_node.core.study import InstanceHeader, Quiet, Role, StoreRequest
from dicom_node.dimse import status
from dicom_node.intake.judge import judge
from dicom_node.ledger import audit, instances
from dicom_node.ledger.blanks import Blanks
from dicom_node.ledger.group_commit import GroupCommit
from dicom_node.ledger.instances import Arrival, Recorded
from dicom_node.ledger.spool import StateFolders, free_bytes
from dicom_node.part10.header import scan
from dicom_node.part10.preface import preface

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dicom_node.core.identifiers import SpoolKey
    from dicom_node.ledger.database import Database
    from dicom_node.ledger.spool_file import SpoolFile

log = structlog.get_logger(__name__)

_SPACE_STEP = 4 << 20  # bytes after which a growing file is held against the free space again


@dataclass(frozen=True, slots=True)
class IntakeSettings:
    """When a study closes, which bundle is to answer it, and the free space that is never used (bytes)."""

    quiet: Quiet
    bundle_sha256: str
    reserve_bytes: int


class Intake:
    """Takes received instances into the spool and the ledger; on_recorded is called after each new one."""

    def __init__(
        self,
        ledger: Database,
        folders: StateFolders,
        settings: IntakeSettings,
        clock: Callable[[], float],
        on_recorded: Callable[[], None],
    ) -> None:
        self._ledger = ledger
        self._commits: GroupCommit[tuple[Arrival, Recorded]] = GroupCommit(ledger)
        self._folders = folders
        self._instances = str(folders.instances)
        self.blanks = Blanks(folders.incoming)
        self._settings = settings
        self._clock = clock
        self._on_recorded = on_recorded
        self._arriving: set[str] = set()
        self._arrived = threading.Condition()

    def apply(self, settings: IntakeSettings) -> None:
        """Go by these settings from the next instance on."""
        self._settings = settings

    def open(self, request: StoreRequest) -> Arriving:
        """Begin to keep an instance.

        Raises Rejected with the DIMSE status for the peer, as do the methods of what is returned; then nothing is kept
        but a record in the audit trail.
        """
        with self.answering(request):
            if not is_usable_uid(request.sop_instance_uid) or not is_usable_uid(request.sop_class_uid):
                message = "the Affected SOP Class or Instance UID is not a UID"
                raise Rejected(message, status.CANNOT_UNDERSTAND)
            self.check_space()
            head = preface(request.sop_class_uid, request.sop_instance_uid, request.transfer_syntax_uid)
            file = self.blanks.take(head)
        return Arriving(self, request, file)

    def keep(self, header: InstanceHeader, digest: str, request: StoreRequest, file: SpoolFile) -> Recorded:
        """Publish a file that is whole and record it, both durably. Raises Rejected, OSError or LedgerUnavailable."""
        key = spool_key(header.sop_instance_uid, digest)
        target = f"{self._instances}/{key}.dcm"
        self._enter(key)
        try:
            # Only a file of the same name can be of a known instance: the ledger is asked once, and not twice.
            if os.path.exists(target) and self._is_known(header, digest):  # noqa: PTH110 - for each instance
                return Recorded.DUPLICATE
            return self._record(header, digest, key, (file.size, request.calling_ae), lambda: file.publish(target))
        finally:
            self._leave(key)

    @contextmanager
    def answering(self, request: StoreRequest) -> Iterator[None]:
        """Turn what goes wrong into the status for the peer, and write it down."""
        try:
            yield
        except Rejected as rejection:
            self._note_refusal(request, rejection)
            raise
        except (OSError, LedgerUnavailable) as error:
            log.exception("storage.failed", sop_instance=_safe(request.sop_instance_uid))
            message = f"the node cannot write its state folder ({type(error).__name__})"
            raise Rejected(message, status.OUT_OF_RESOURCES) from error

    def check_space(self) -> None:
        """Raise Rejected where the disk is down to the reserve."""
        if free_bytes(self._folders.root) < self._settings.reserve_bytes:
            message = "disk space is down to the reserve (node.reserve_mib)"
            raise Rejected(message, status.OUT_OF_RESOURCES)

    def _is_known(self, header: InstanceHeader, digest: str) -> bool:
        with self._ledger.transaction() as connection:
            known = instances.is_known(connection, header.sop_instance_uid, digest)
        if known:
            log.info("instance.duplicate", study=header.study_instance_uid, sop_instance=header.sop_instance_uid)
        return known

    def _record(
        self, header: InstanceHeader, digest: str, key: SpoolKey, source: tuple[int, str], publish: Callable[[], None]
    ) -> Recorded:
        size, calling_ae = source
        settings = self._settings

        def record(connection: Any) -> tuple[Arrival, Recorded]:
            uid = header.sop_instance_uid
            own = uid.startswith(UID_ROOT) and instances.is_own_result(connection, uid)
            arrival = Arrival(header, judge(header, is_own_uid=own), digest, size, key, calling_ae)
            now = self._clock()
            return arrival, instances.record(connection, arrival, settings.quiet, settings.bundle_sha256, now)

        arrival, recorded = self._commits.run(record, publish)
        _log(arrival, recorded)
        if arrival.judgement.role is Role.VIEW and recorded is not Recorded.DUPLICATE:
            self._on_recorded()
        return recorded

    def _enter(self, key: str) -> None:
        """Let only one association at a time take in the same instance; two would write the same file."""
        with self._arrived:
            self._arrived.wait_for(lambda: key not in self._arriving)
            self._arriving.add(key)

    def _leave(self, key: str) -> None:
        with self._arrived:
            self._arriving.discard(key)
            self._arrived.notify_all()

    def _note_refusal(self, request: StoreRequest, rejection: Rejected) -> None:
        uid = _safe(request.sop_instance_uid)
        answer = f"0x{rejection.status:04X}"
        log.warning("instance.refused", sop_instance=uid, status=answer, reason=str(rejection))
        try:
            with self._ledger.transaction() as connection:
                detail = f"{answer}: {rejection}"
                audit.note(
                    connection,
                    self._clock(),
                    "instance.refused",
                    sop_instance=uid,
                    detail=detail,
                    status=rejection.status,
                    calling_ae=request.calling_ae,
                    peer=request.peer,
                )
        except (OSError, LedgerUnavailable):
            # The peer is told in any case; a full disk must not turn a clear refusal into an abort.
            log.exception("audit.failed", sop_instance=uid)


class Arriving:
    """One instance on its way into the spool: written and digested as it comes, judged when it is whole."""

    def __init__(self, intake: Intake, request: StoreRequest, file: SpoolFile) -> None:
        self._intake = intake
        self._request = request
        self._file = file
        self._digest = hashlib.sha256()
        self._space_checked_at = 0

    def write(self, pieces: Sequence[memoryview]) -> None:
        """Append the next pieces of the data set. Raises Rejected where the disk cannot take them."""
        with self._intake.answering(self._request):
            self._file.write(pieces)
            if self._file.size - self._space_checked_at >= _SPACE_STEP:
                self._space_checked_at = self._file.size
                self._intake.check_space()
        for piece in pieces:
            self._digest.update(piece)

    def finish(self) -> Recorded:
        """Keep the instance, durably. Raises Rejected where it is not what the command says, or cannot be kept."""
        try:
            with self._intake.answering(self._request):
                header = _identify(self._request, self._file.content())
                return self._intake.keep(header, self._digest.hexdigest(), self._request, self._file)
        finally:
            self._file.discard()

    def abort(self) -> None:
        """Keep nothing."""
        self._file.discard()


def _identify(request: StoreRequest, data: memoryview) -> InstanceHeader:
    """Read the header and hold it against the command (PS3.4 B.2.3: 0xA900, 0xC000)."""
    try:
        header = scan(data, request.transfer_syntax_uid)
    except MalformedDataSet as error:
        raise Rejected(str(error), status.CANNOT_UNDERSTAND) from error
    if header.sop_instance_uid != request.sop_instance_uid or header.sop_class_uid != request.sop_class_uid:
        message = "the data set's SOP Class or Instance UID is not the command's"
        raise Rejected(message, status.MISMATCH)
    if not is_usable_uid(header.study_instance_uid):
        message = "the data set has no usable Study Instance UID"
        raise Rejected(message, status.CANNOT_UNDERSTAND)
    return header


def _log(arrival: Arrival, recorded: Recorded) -> None:
    judgement = arrival.judgement
    log.info(
        "instance.stored",
        study=arrival.header.study_instance_uid,
        sop_instance=arrival.header.sop_instance_uid,
        role=judgement.role.value,
        reason=judgement.reason.text if judgement.reason else None,
        recorded=recorded.value,
        bytes=arrival.size,
    )


def _safe(uid: str) -> str:
    """Return a received UID as it may be written down: control characters and worse never reach a log."""
    return uid if is_usable_uid(uid) else "(not a UID)"
