"""The way of a few instances through the ledger and the spool, from C-STORE to delivery, in one process of its own.

Everything durable is the node's own code; only the model and the PACS are stood in for. It begins as a node does after
a crash, so the same call is the first run and the recovery.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from dicom_node.core.errors import LedgerError, LedgerUnavailable, Rejected
from dicom_node.core.identifiers import derived_uid
from dicom_node.core.study import Quiet, StoreRequest
from dicom_node.intake.accept import Intake, IntakeSettings
from dicom_node.intake.homing import bring_home
from dicom_node.ledger import jobs, outbox, results, studies
from dicom_node.ledger.audit import verify
from dicom_node.ledger.database import Database, open_ledger
from dicom_node.ledger.jobs import Lease
from dicom_node.ledger.overview import Overview
from dicom_node.ledger.spool import StateFolders, data_set_digest, folder_digest, publish_folder
from dicom_node.services.scrubbing import Scrubber
from tests.unit.part10.test_header import EXPLICIT_LITTLE, a_radiograph, encoded

if TYPE_CHECKING:
    from collections.abc import Callable

CR = "1.2.840.10008.5.1.4.1.1.1"
BUNDLE = "bundle"
_QUIET = Quiet(10.0, 60.0)
_PR_SET_PTRACER, _ANY = 0x59616D61, ctypes.c_ulong(-1)


@dataclass(frozen=True)
class Sent:
    """An instance as the modality sends it."""

    study: str
    uid: str
    data: bytes


def instances() -> list[Sent]:
    """Return the instances of two studies, the same every time."""
    made = []
    for study in (1, 2):
        for view in (1, 2):
            data = a_radiograph()
            data.StudyInstanceUID, data.SOPInstanceUID = f"1.2.{study}", f"1.2.{study}.{view}"
            data.PixelData, data.BitsAllocated = bytes([study, view]) * 12_000, 16
            made.append(Sent(f"1.2.{study}", f"1.2.{study}.{view}", encoded(data)))
    return made


class Walk:
    """One run over a state folder; `acknowledged` and `delivered` are told of what the world outside was told."""

    def __init__(
        self,
        state: Path,
        acknowledged: Callable[[str], None],
        delivered: Callable[[str], None],
        began: float = 4e9,
    ) -> None:
        self.folders = StateFolders(state)
        self._acknowledged, self._delivered = acknowledged, delivered
        self._now = began  # whatever lies in the spool is to be older

    def run(self) -> None:
        """Recover, receive everything, answer it and deliver it."""
        self.folders.create()
        ledger = open_ledger(self.folders.ledger)
        bring_home(ledger, self.folders)
        self.folders.clear_leftovers()
        self._recover(ledger)
        for stage in (self._receive, self._answer, self._deliver):
            self._patiently(stage, ledger)
        ledger.close()

    def _patiently(self, stage: Callable[[Database], None], ledger: Database) -> None:
        """Do a stage again where the disk failed in it, as the PACS and the loops of the node do."""
        for last in (False, False, True):
            try:
                stage(ledger)
            except (Rejected, LedgerUnavailable, OSError):
                if last:
                    raise
                with suppress(LedgerUnavailable), ledger.transaction() as connection:
                    jobs.release_all(connection)
                    outbox.release_all(connection)
            else:
                return

    def _clock(self) -> float:
        self._now += 1.0
        return self._now

    def _recover(self, ledger: Database) -> None:
        with ledger.transaction() as connection:
            jobs.release_all(connection)
            outbox.release_all(connection)
            studies.recompose_unpublished(connection)
            studies.queue_missing_analyses(connection, BUNDLE, self._clock())
        Scrubber(ledger, self.folders, (_QUIET, BUNDLE), 0.0, self._clock, threading.Event()).adopt_orphans()

    def _receive(self, ledger: Database) -> None:
        settings = IntakeSettings(_QUIET, BUNDLE, reserve_bytes=0)
        intake = Intake(ledger, self.folders, settings, self._clock, lambda: None)
        intake.blanks.fill(3)  # the last of four instances finds none
        for sent in instances():
            sink = intake.open(StoreRequest(CR, sent.uid, EXPLICIT_LITTLE, "MODALITY", "127.0.0.1"))
            try:
                sink.write([memoryview(sent.data)])
                sink.finish()
            except Rejected:
                sink.abort()  # as the association does
                raise
            self._acknowledged(sent.uid)
        intake.blanks.clear()

    def _answer(self, ledger: Database) -> None:
        with ledger.transaction() as connection:
            studies.close_due(connection, BUNDLE, self._clock() + 1000.0)
        while True:
            with ledger.transaction() as connection:
                studies.promote_waiting(connection, self._clock())
                lease = jobs.lease(connection, self._clock() + 1000.0, 60.0)
            if lease is None:
                return
            self._do(ledger, lease)

    def _do(self, ledger: Database, lease: Lease) -> None:
        kind = "analyses" if lease.instance_id is not None else "results"
        key = lease.instance_id or lease.version_id or 0
        work = self.folders.work / f"{lease.job_id}-{lease.fence}"
        work.mkdir()
        for name in ("a", "b"):
            (work / name).write_bytes(f"{kind} {key} {name}".encode() * 50)
        digest, kept = folder_digest(work), f"{kind}/{key % 256:02x}/{key}"
        publish_folder(work, self.folders.root / kept)
        with ledger.transaction() as connection:
            if not jobs.complete(connection, lease):
                return
            if lease.instance_id is not None:
                analysed = results.Analysed(lease.instance_id, BUNDLE, "{}", kept, digest)
                results.save_analysis(connection, analysed, self._clock())
                return
            study, number = results._name(connection, key)
            uid = derived_uid(study, str(number))
            report = results.ReportObject("sr", "sr", "1.2", uid, "2.25.9", EXPLICIT_LITTLE, "a")
            found = results.Published("negative", 0.1, None, None, BUNDLE, kept, digest, (report,))
            results.publish(connection, key, found, ("pacs",), self._clock())

    def _deliver(self, ledger: Database) -> None:
        while True:
            with ledger.transaction() as connection:
                dues = outbox.take_due(connection, "pacs", self._clock() + 1000.0)
                objects = results.objects(connection, dues[0].version_id) if dues else ()
            if not dues:
                return
            for item in objects:
                self._delivered(item.sop_instance_uid)
            with ledger.transaction() as connection:
                outbox.succeed(connection, dues[0], (), self._clock())


def child(state: str, gate: int, told: int) -> None:
    """Run the walk once something can be read from `gate`; write each thing that the outside is told to `told`."""
    ctypes.CDLL(None).prctl(_PR_SET_PTRACER, _ANY, 0, 0, 0)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    os.read(gate, 1)

    def acknowledged(uid: str) -> None:
        os.write(told, f"acknowledged {uid}\n".encode())

    def delivered(uid: str) -> None:
        os.write(told, f"delivered {uid}\n".encode())

    code = 1  # a start that fails says so and is tried again by whoever looks after the node
    with suppress(LedgerError, LedgerUnavailable, Rejected, OSError):
        Walk(Path(state), acknowledged, delivered).run()
        code = 0
    os._exit(code)


def problems(state: Path, told: list[str]) -> list[str]:
    """Recover, walk to the end and return what is lost, doubled or wrong; told: what the outside had been told."""
    acknowledged = {line.split()[1] for line in told if line.startswith("acknowledged")}
    delivered = [line.split()[1] for line in told if line.startswith("delivered")]
    lost = _lost_at_start(state, acknowledged) if acknowledged else []
    Walk(state, lambda _uid: None, delivered.append).run()
    found = [f"after the recovery alone: {problem}" for problem in lost]
    found += _lost(state, {sent.uid for sent in instances()})
    folders, overview = StateFolders(state), Overview(StateFolders(state).ledger)
    published = []
    for study in ("1.2.1", "1.2.2"):
        listed = (overview.study(study) or {"versions": []})["versions"]
        done = [v for v in listed if v["state"] == "published"]
        if len(done) != 1 or len(done[0]["views"]) != 2:
            found.append(f"{study}: {[(v['state'], len(v['views'])) for v in listed]}")
        published += [item["sop_instance_uid"] for v in done for item in v["objects"]]
        found += [
            f"{study}: torn result" for v in done if folder_digest(folders.root / v["folder"]) != v["folder_sha256"]
        ]
    if set(delivered) != set(published):
        found.append(f"the PACS holds {sorted(set(delivered))}, published are {sorted(published)}")
    verdict = verify(overview.trail())
    found += [f"audit: {verdict.problem}"] if verdict.problem else []
    found += [f"left behind: {path.name}" for f in (folders.incoming, folders.work) for path in f.iterdir()]
    return found


def _lost_at_start(state: Path, wanted: set[str]) -> list[str]:
    """Return what is lost once a start has moved home what a power cut left under another name."""
    ledger = open_ledger(StateFolders(state).ledger)
    bring_home(ledger, StateFolders(state))
    ledger.close()
    return _lost(state, wanted)


def _lost(state: Path, wanted: set[str]) -> list[str]:
    """Return which instances have no row, or no file that holds what was received."""
    folders = StateFolders(state)
    expected = {sent.uid: hashlib.sha256(sent.data).hexdigest() for sent in instances()}
    ledger = open_ledger(folders.ledger)
    with ledger.transaction() as connection:
        rows = connection.exec_driver_sql(
            "SELECT sop_instance_uid, spool_key, size FROM instance WHERE is_current AND storage = 'spool'"
        ).all()
    ledger.close()
    whole = set()
    for uid, key, size in rows:
        path = folders.instance_path(key)
        if path.exists() and data_set_digest(path, size) == expected[uid]:
            whole.add(uid)
    return [f"{uid} is lost" for uid in sorted(wanted - whole)]
