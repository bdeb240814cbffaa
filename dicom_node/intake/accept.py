"""Accepting an instance: spool file and ledger row are on disk before the peer hears 0x0000."""

from __future__ import annotations

import hashlib
import os
import threading
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

import structlog

from dicom_node.core.errors import LedgerUnavailable, MalformedDataSet, Rejected
from dicom_node.core.identifiers import is_usable_uid, spool_key
from dicom_node.core.study import InstanceHeader, Judgement, Quiet, Received, Role
from dicom_node.dimse import status
from dicom_node.intake.judge import judge
from dicom_node.ledger import audit, instances
from dicom_node.ledger.instances import Arrival, Recorded
from dicom_node.ledger.spool import StateFolders, free_bytes, write_durably
from dicom_node.part10.header import scan
from dicom_node.part10.writer import preface

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dicom_node.ledger.database import Database

log = structlog.get_logger(__name__)


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
        self._folders = folders
        self._settings = settings
        self._clock = clock
        self._on_recorded = on_recorded
        self._serial = count()
        self._arriving: set[str] = set()
        self._arrived = threading.Condition()

    def accept(self, received: Received) -> Recorded:
        """Keep an instance, durably.

        Raises Rejected with the DIMSE status for the peer; then nothing is kept but a record in the audit trail.
        """
        try:
            return self._accept(received)
        except Rejected as rejection:
            self._note_refusal(received, rejection)
            raise
        except (OSError, LedgerUnavailable) as error:
            log.exception("storage.failed", sop_instance=_safe(received.sop_instance_uid))
            message = f"the node cannot write its state folder ({type(error).__name__})"
            raise Rejected(message, status.OUT_OF_RESOURCES) from error

    def _accept(self, received: Received) -> Recorded:
        self._check_space(len(received.dataset))
        header = _identify(received)
        digest = hashlib.sha256(received.dataset).hexdigest()
        key = spool_key(header.sop_instance_uid, digest)
        self._enter(key)
        try:
            with self._ledger.transaction() as connection:
                known = instances.is_known(connection, header.sop_instance_uid, digest)
                own = instances.is_own_result(connection, header.sop_instance_uid)
            if known:
                log.info("instance.duplicate", study=header.study_instance_uid, sop_instance=header.sop_instance_uid)
                return Recorded.DUPLICATE
            self._spool(received, self._folders.instance_path(key))
            arrival = Arrival(
                header, judge(header, is_own_uid=own), digest, len(received.dataset), key, received.calling_ae
            )
            return self._record(arrival)
        finally:
            self._leave(key)

    def _record(self, arrival: Arrival) -> Recorded:
        with self._ledger.transaction() as connection:
            settings = self._settings
            recorded = instances.record(connection, arrival, settings.quiet, settings.bundle_sha256, self._clock())
        _log(arrival, recorded)
        if arrival.judgement.role is Role.VIEW:
            self._on_recorded()
        return recorded

    def _spool(self, received: Received, target: Path) -> None:
        head = preface(received.sop_class_uid, received.sop_instance_uid, received.transfer_syntax_uid)
        temporary = self._folders.incoming / f"{os.getpid()}-{next(self._serial)}"
        write_durably(target, temporary, (head, received.dataset))

    def _check_space(self, size: int) -> None:
        if free_bytes(self._folders.root) - size < self._settings.reserve_bytes:
            message = "disk space is down to the reserve (node.reserve_mib)"
            raise Rejected(message, status.OUT_OF_RESOURCES)

    def _enter(self, key: str) -> None:
        """Let only one association at a time take in the same instance; two would write the same file."""
        with self._arrived:
            self._arrived.wait_for(lambda: key not in self._arriving)
            self._arriving.add(key)

    def _leave(self, key: str) -> None:
        with self._arrived:
            self._arriving.discard(key)
            self._arrived.notify_all()

    def _note_refusal(self, received: Received, rejection: Rejected) -> None:
        uid = _safe(received.sop_instance_uid)
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
                    calling_ae=received.calling_ae,
                    peer=received.peer,
                )
        except (OSError, LedgerUnavailable):
            # The peer is told in any case; a full disk must not turn a clear refusal into an abort.
            log.exception("audit.failed", sop_instance=uid)


def _identify(received: Received) -> InstanceHeader:
    """Read the header and hold it against the command (PS3.4 B.2.3: 0xA900, 0xC000)."""
    if not is_usable_uid(received.sop_instance_uid) or not is_usable_uid(received.sop_class_uid):
        message = "the Affected SOP Class or Instance UID is not a UID"
        raise Rejected(message, status.CANNOT_UNDERSTAND)
    try:
        header = scan(received.dataset, received.transfer_syntax_uid)
    except MalformedDataSet as error:
        raise Rejected(str(error), status.CANNOT_UNDERSTAND) from error
    if header.sop_instance_uid != received.sop_instance_uid or header.sop_class_uid != received.sop_class_uid:
        message = "the data set's SOP Class or Instance UID is not the command's"
        raise Rejected(message, status.MISMATCH)
    if not is_usable_uid(header.study_instance_uid):
        message = "the data set has no usable Study Instance UID"
        raise Rejected(message, status.CANNOT_UNDERSTAND)
    return header


def _log(arrival: Arrival, recorded: Recorded) -> None:
    judgement: Judgement = arrival.judgement
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
