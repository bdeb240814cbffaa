"""The node: takes associations, owns the ledger, closes studies, leases jobs, delivers. Never decodes pixels."""

from __future__ import annotations

import fcntl
import os
import random
import time
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING

import structlog

from dicom_node.core.errors import LedgerError, LedgerUnavailable, SettingsError, StateFolderBusy
from dicom_node.core.study import Quiet
from dicom_node.deliver.confirm import demand_of
from dicom_node.destination_settings import DicomDestination
from dicom_node.dimse.scp import AllowedPeer, Pace, ScpSettings, StorageScp, TlsFiles
from dicom_node.dimse.tls import days_left
from dicom_node.intake.accept import Intake, IntakeSettings
from dicom_node.ledger import commitments, jobs, outbox, studies
from dicom_node.ledger.database import Database, open_ledger
from dicom_node.ledger.space import Space, Watermarks
from dicom_node.ledger.spool import StateFolders
from dicom_node.services import process
from dicom_node.services.auditing import Auditor
from dicom_node.services.closing import Closer
from dicom_node.services.confirming import Asker, Reports
from dicom_node.services.delivering import Courier
from dicom_node.services.digest import installed_bundle
from dicom_node.services.dispatch import Dispatcher, DispatchSettings
from dicom_node.services.keeping import GuardedIntake, Keeper
from dicom_node.services.scrubbing import Scrubber
from dicom_node.services.software import installed_software, settings_digest
from dicom_node.services.syslog import SyslogSender
from dicom_node.services.threads import Bell, Threads

if TYPE_CHECKING:
    from dicom_node.settings import PeerSettings, Settings

log = structlog.get_logger(__name__)

_LOCK_WAIT_S = 15.0
_STOP_S = 10.0
_BIND_TRIES = 20
_MIB = 1 << 20
_EXPIRES_SOON_DAYS = 30.0


def main(argv: list[str] | None = None) -> int:
    """Run the node until SIGTERM; returns the exit status (1: failed, restart it; 3: the ledger needs a person)."""
    settings = process.begin("node", argv)
    folders = StateFolders(settings.node.state_dir)
    try:
        folders.create()
        _take_lock(folders)
        Space(folders, _watermarks(settings)).tend()  # a full disk: the ledger may need its reserve to be opened
        ledger = open_ledger(folders.ledger)
    except StateFolderBusy as error:
        log.error("state_folder.busy", reason=str(error))  # noqa: TRY400 - said in one line
        return process.EXIT_FAILED
    except (LedgerError, OSError) as error:
        log.error("ledger.unusable", reason=str(error), state_dir=str(folders.root))  # noqa: TRY400 - said in one line
        return process.EXIT_LEDGER
    node = Node(settings, folders, ledger)
    process.on_stop_signal(node.threads.stopping.set)
    try:
        return node.run()
    except LedgerUnavailable as error:
        log.error("ledger.unavailable", reason=str(error))  # noqa: TRY400 - said in one line
        return process.EXIT_FAILED


def _take_lock(folders: StateFolders) -> None:
    """Hold the state folder for this process; an earlier node that is just ending is waited for."""
    descriptor = os.open(folders.lock, os.O_RDWR | os.O_CREAT, 0o600)  # kept open, and locked, until the process ends
    deadline = time.monotonic() + _LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                message = f"another node is running on {folders.root}; stop it, or give this one its own state_dir"
                raise StateFolderBusy(message) from None
            time.sleep(0.1)
        else:
            return


class Node:
    """The parts of the node, wired together."""

    def __init__(self, settings: Settings, folders: StateFolders, ledger: Database) -> None:
        self._settings = settings
        self._folders = folders
        self._ledger = ledger
        self._bundle_sha256 = installed_bundle(settings.analysis)
        self.threads = Threads()
        self._bell = Bell()
        self._software = installed_software()
        self._quiet = Quiet(settings.study.quiet_s, settings.study.max_wait_s)
        self._space = Space(folders, _watermarks(settings))
        self._keeper = Keeper(ledger, folders, self._space, settings.keep.days, time.time, self.threads.stopping)
        self._intake = Intake(
            ledger,
            folders,
            IntakeSettings(
                quiet=self._quiet,
                bundle_sha256=self._bundle_sha256,
                reserve_bytes=settings.node.reserve_mib * _MIB,
            ),
            clock=time.time,
            on_recorded=self._bell.ring_soon,
        )
        guarded = GuardedIntake(self._intake.open, self._space)
        self._reports = Reports(ledger, self._bell, time.time)
        on_report = self._reports.take if _asks_for_commitment(settings) else None
        self._scp = StorageScp(_scp_settings(settings), guarded.open, on_report, self._space.accepting)
        self._auditor = Auditor(ledger, folders.audit_heads, self._scp.refusals, time.time, self.threads.stopping)

    def run(self) -> int:
        """Recover, serve until told to stop, and stop in order."""
        self._recover()
        self._start_threads()
        try:
            self._listen()
        except SettingsError as error:
            log.error("tls.unusable", reason=str(error))  # noqa: TRY400 - said in one line
            return process.EXIT_SETTINGS
        except OSError as error:
            address = f"{self._settings.node.host}:{self._settings.node.port}"
            log.error("port.unavailable", address=address, cause=type(error).__name__)  # noqa: TRY400 - in one line
            return process.EXIT_FAILED
        log.info(
            "node.ready",
            ae_title=self._settings.node.ae_title,
            host=self._settings.node.host,
            port=self._scp.port,
            bundle=self._bundle_sha256,
            destinations=[destination.name for destination in self._settings.destinations],
        )
        self.threads.stopping.wait()
        log.info("node.stopping")
        self._bell.ring()
        self._scp.stop()
        self.threads.join(_STOP_S)
        self._auditor.note_stop()
        self._ledger.close()
        log.info("node.stopped")
        return process.EXIT_FAILED if self.threads.failed else process.EXIT_OK

    def _watch_certificate(self) -> None:
        """Say so in time that our certificate expires: a peer that checks it stops sending that day."""
        files = _tls_files(self._settings)
        if files is None:
            return
        left = days_left(files.certificate, datetime.now(timezone.utc))
        if left < _EXPIRES_SOON_DAYS:
            log.warning("certificate.expires", certificate=str(files.certificate), days_left=round(left, 1))

    def _recover(self) -> None:
        """Take up what an earlier run left: nothing acknowledged is lost, nothing half-done is believed."""
        self._folders.clear_leftovers()
        self._auditor.note_start(self._settings, self._software, self._bundle_sha256)
        with self._ledger.transaction() as connection:
            released = jobs.release_all(connection)
            interrupted = outbox.release_all(connection)
            demands = {item.name: demand_of(item) for item in self._settings.destinations}
            commitments.adopt(connection, demands, time.time())
            studies.recompose_unpublished(connection)
            studies.queue_missing_analyses(connection, self._bundle_sha256, time.time())
        log.info("ledger.recovered", jobs=released, deliveries=interrupted)

    def _start_threads(self) -> None:
        dispatcher = Dispatcher(
            DispatchSettings(
                bundle_sha256=self._bundle_sha256,
                timeout_s=self._settings.analysis.timeout_s,
                crash_limit=self._settings.analysis.crash_limit,
                destinations=tuple(destination.name for destination in self._settings.destinations),
                config_sha256=settings_digest(self._settings),
                software_sha256=self._software.sha256,
            ),
            ledger=self._ledger,
            folders=self._folders,
            bell=self._bell,
            clock=time.time,
            dice=random.random,
            threads=self.threads,
            purge=self._keeper.purge_on_request,
        )
        closer = Closer(self._ledger, self._bundle_sha256, self._bell, time.time, self.threads.stopping)
        self.threads.start("dispatcher", dispatcher.run)
        self.threads.start("closer", closer.run)
        self.threads.start("auditor", self._auditor.run)
        self.threads.start("keeper", self._keeper.run)
        self.threads.start("scrubber", self._scrubber().run)
        if self._settings.audit.syslog:
            sender = SyslogSender(
                self._settings.audit, self._settings.node.ae_title, self._ledger, self.threads.stopping
            )
            self.threads.start("syslog", sender.run)
        for destination in self._settings.destinations:
            courier = Courier(
                destination,
                self._settings.node.ae_title,
                ledger=self._ledger,
                folders=self._folders,
                bell=self._bell,
                clock=time.time,
                dice=random.random,
                stopping=self.threads.stopping,
            )
            self.threads.start(f"courier-{destination.name}", partial(self._deliver, courier, destination.name))
            if isinstance(destination, DicomDestination) and demand_of(destination) != "none":
                self.threads.start(f"asker-{destination.name}", self._asker(destination).run)

    def _asker(self, destination: DicomDestination) -> Asker:
        return Asker(
            destination,
            self._settings.node.ae_title,
            ledger=self._ledger,
            reports=self._reports,
            bell=self._bell,
            clock=time.time,
            dice=random.random,
            stopping=self.threads.stopping,
        )

    def _deliver(self, courier: Courier, destination: str) -> None:
        """Run a courier, at the start and after a failure of the ledger: what it had in hand is taken up again."""
        with self._ledger.transaction() as connection:
            outbox.release_all(connection, destination)
        courier.run()

    def _scrubber(self) -> Scrubber:
        recording = (self._quiet, self._bundle_sha256)
        speed = self._settings.keep.scrub_mib_per_s
        return Scrubber(self._ledger, self._folders, recording, speed, time.time, self.threads.stopping)

    def _listen(self) -> None:
        """Listen; an earlier node that was killed may hold the port for a moment."""
        self._watch_certificate()
        for attempt in range(_BIND_TRIES):
            try:
                self._scp.start()
            except OSError:
                if attempt + 1 == _BIND_TRIES:
                    raise
                time.sleep(0.1)
            else:
                return


def _asks_for_commitment(settings: Settings) -> bool:
    return any(demand_of(item) not in {"none", "find"} for item in settings.destinations)


def _watermarks(settings: Settings) -> Watermarks:
    keep = settings.keep
    return Watermarks(
        hard=settings.node.reserve_mib * _MIB,
        soft=keep.soft_reserve_mib * _MIB,
        reserve=keep.ledger_reserve_mib * _MIB,
    )


def _tls_files(settings: Settings) -> TlsFiles | None:
    tls = settings.node.tls
    return TlsFiles(tls.certificate, tls.key, tls.ca) if tls is not None else None


def _scp_settings(settings: Settings) -> ScpSettings:
    node = settings.node
    return ScpSettings(
        ae_title=node.ae_title,
        host=node.host,
        port=node.port,
        peers=tuple(_allowed(peer) for peer in node.peers),
        max_associations=node.max_associations,
        pending_per_address=node.pending_per_address,
        request_timeout_s=node.request_timeout_s,
        pace=Pace(idle_s=node.network_timeout_s, pdu_s=node.pdu_timeout_s),
        tls=_tls_files(settings),
        max_object_bytes=node.max_object_mib * _MIB,
    )


def _allowed(peer: PeerSettings) -> AllowedPeer:
    return AllowedPeer(
        ae_title=peer.ae_title,
        networks=peer.networks,
        certificate_sha256=peer.certificate_sha256,
        sop_classes=frozenset(peer.sop_classes),
        associations_per_minute=peer.associations_per_minute,
    )


if __name__ == "__main__":
    process.end(main())
