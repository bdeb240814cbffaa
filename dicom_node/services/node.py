"""The node: takes associations, owns the ledger, closes studies, leases jobs, delivers. Never decodes pixels."""

from __future__ import annotations

import fcntl
import logging
import os
import random
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from dicom_node import __version__
from dicom_node import settings as configuration
from dicom_node.core.errors import LedgerError, LedgerUnavailable, SettingsError, StateFolderBusy
from dicom_node.dimse.scp import StorageScp
from dicom_node.intake.accept import Intake
from dicom_node.intake.homing import bring_home
from dicom_node.ledger import audit, jobs, outbox, studies
from dicom_node.ledger.database import Database, open_ledger
from dicom_node.ledger.space import Space
from dicom_node.ledger.spool import StateFolders
from dicom_node.ledger.standing import standing
from dicom_node.services import desk, notify, process, reception, reloading
from dicom_node.services.asking import Answer
from dicom_node.services.auditing import Auditor
from dicom_node.services.closing import Closer
from dicom_node.services.control import Control
from dicom_node.services.couriers import Couriers
from dicom_node.services.digest import installed_bundle
from dicom_node.services.dispatch import Dispatcher, DispatchSettings
from dicom_node.services.keeping import GuardedIntake, Keeper, keep_blanks
from dicom_node.services.notify import Notifier
from dicom_node.services.scrubbing import Scrubber
from dicom_node.services.software import installed_software, settings_digest
from dicom_node.services.threads import TURN_S, Bell, Threads
from dicom_node.services.timekeeping import Clock, Timekeeper

if TYPE_CHECKING:
    from collections.abc import Callable

    from dicom_node.settings import Settings

log = structlog.get_logger(__name__)

_LOCK_WAIT_S = 15.0
_STOP_S = 10.0
_LOOK_S, _TELL_S, _RELOAD_AGAIN_S = 0.5, 5.0, 5.0
_LISTENER = "listener"
_BIND_TRIES = 20
# Longest turns, seconds: one study to purge, a batch to send, and one large file, or the ledger, to read.
_PURGE_S, _SEND_S, _READ_S = 300.0, 120.0, 1800.0


def main(argv: list[str] | None = None) -> int:
    """Run the node until SIGTERM; returns the exit status (1: failed, restart it; 3: the ledger needs a person)."""
    start = process.begin("node", argv)
    surroundings = Surroundings(start.config, notify.notifier(), notify.passed_socket())
    folders = StateFolders.of(start.settings.node)
    try:
        folders.create()
        _take_lock(folders)
        Space(folders, reception.watermarks(start.settings)).tend()  # a full disk: the ledger may need its reserve
        ledger = open_ledger(folders.ledger)
    except StateFolderBusy as error:
        log.error("state_folder.busy", reason=str(error))  # noqa: TRY400 - said in one line
        return process.EXIT_FAILED
    except LedgerUnavailable as error:  # a server that is not up yet: started again until it is
        log.error("ledger.unavailable", reason=str(error))  # noqa: TRY400 - said in one line
        surroundings.notifier.status(str(error))
        return process.EXIT_FAILED
    except (LedgerError, OSError) as error:
        log.error("ledger.unusable", reason=str(error), state_dir=str(folders.root))  # noqa: TRY400 - said in one line
        surroundings.notifier.status(f"the ledger needs a person: {error}")
        return process.EXIT_LEDGER
    node = Node(start.settings, folders, ledger, surroundings)
    process.on_stop_signal(node.threads.stopping.set)
    process.on_reload_signal(node.reload_wanted.set)
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


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the node got from whoever started it: its configuration file, systemd's ear, and a listening socket."""

    config: Path
    notifier: Notifier
    listen_fd: int | None = None


class Node:
    """The parts of the node, wired together."""

    def __init__(self, settings: Settings, folders: StateFolders, ledger: Database, surroundings: Surroundings) -> None:
        self._settings = settings
        self._folders = folders
        self._ledger = ledger
        self._surroundings = surroundings
        self._bundle_sha256 = installed_bundle(settings.analysis)
        self.threads = Threads()
        self.reload_wanted = threading.Event()
        self._reloading = threading.Lock()
        self._reload_at = 0.0
        self._accepting = False
        self._started = time.monotonic()
        self._bell = Bell()
        self._clock = Clock()
        self._timekeeper = Timekeeper(ledger, self._clock, self._bell, self.threads.stopping)
        self._software = installed_software()
        self._space = Space(folders, reception.watermarks(settings))
        self._keeper = Keeper(ledger, folders, self._space, settings.keep.days, self._clock, self.threads.stopping)
        self._intake = Intake(
            ledger,
            folders,
            reception.intake_settings(settings, self._bundle_sha256),
            clock=self._clock,
            on_recorded=self._bell.ring_soon,
        )
        self._couriers = Couriers(ledger, folders, self._bell, self.threads, settings.node.ae_title, self._clock)
        self._scp = StorageScp(
            reception.scp_settings(settings, surroundings.listen_fd),
            GuardedIntake(self._intake.open, self._space).open,
            on_report=self._couriers.take_report,
            accepting=self._space.accepting,
            on_turn=lambda: self.threads.heartbeats.beat(_LISTENER),
        )
        self._auditor = Auditor(ledger, folders.audit_heads, self._scp.refusals, self._clock, self.threads.stopping)
        self._dispatcher = Dispatcher(
            self._dispatch_settings(),
            ledger=ledger,
            folders=folders,
            bell=self._bell,
            clock=self._clock,
            dice=random.random,
            threads=self.threads,
            purge=self._keeper.purge_on_request,
            installed=lambda: installed_bundle(self._settings.analysis),
        )

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
        self._accepting = True
        self.threads.heartbeats.expect(_LISTENER, TURN_S)
        log.info(
            "node.ready",
            ae_title=self._settings.node.ae_title,
            host=self._settings.node.host,
            port=self._scp.port,
            socket="passed" if self._surroundings.listen_fd is not None else "own",
            bundle=self._bundle_sha256,
            destinations=[destination.name for destination in self._settings.destinations],
        )
        self._surroundings.notifier.ready(self._in_words())
        with self._reloading:  # after READY: what sends takes longer to import than all the rest
            self._couriers.apply(self._settings.destinations)
        self.threads.start("teller", self._tell)
        self._look_after()
        log.info("node.stopping")
        self._surroundings.notifier.stopping()
        self._accepting = False
        self._bell.ring()
        self._scp.stop()
        self._intake.blanks.stir()
        self.threads.join(_STOP_S)
        self._auditor.note_stop()
        self._ledger.close()
        log.info("node.stopped")
        return process.EXIT_FAILED if self.threads.failed else process.EXIT_OK

    def _look_after(self) -> None:
        """Until told to stop: reload when asked, and give signs of life for as long as every loop turns."""
        said: tuple[str, ...] = ()
        alive_at = 0.0
        while not self.threads.stopping.wait(_LOOK_S):
            if self.reload_wanted.is_set() and time.monotonic() >= self._reload_at:
                self.reload_wanted.clear()
                self.reload()
            late = self.threads.heartbeats.late()
            if late != said:
                log.log(logging.ERROR if late else logging.INFO, "loops.late" if late else "loops.turn", loops=late)
                said = late
            now = time.monotonic()
            if not late and now - alive_at >= self._surroundings.notifier.every_s:
                self._surroundings.notifier.alive()
                alive_at = now

    def _tell(self) -> None:
        """Keep the line fresh that `systemctl status` shows."""
        while not self.threads.stopping.is_set():
            self._surroundings.notifier.status(self._in_words())
            self.threads.stopping.wait(_TELL_S)

    def reload(self) -> dict[str, Any]:
        """Read the configuration again and apply what can be; a bad file changes nothing. Returns what was done."""
        with self._reloading:
            try:
                wanted = configuration.load(self._surroundings.config)
            except SettingsError as error:
                log.error("reload.refused", reason=str(error))  # noqa: TRY400 - said in one line
                return {"refused": str(error)}
            found = reloading.changes(self._settings, wanted)
            settings = reloading.in_force(self._settings, wanted)
            try:
                self._take_over(settings)
            except (SettingsError, LedgerUnavailable) as error:
                log.error("reload.refused", reason=str(error))  # noqa: TRY400 - said in one line
                return {"refused": str(error)}
            self._settings = settings
            self._intake.apply(reception.intake_settings(settings, self._bundle_sha256))
            self._space.apply(reception.watermarks(settings))
            self._dispatcher.apply(self._dispatch_settings())
            try:
                self._couriers.apply(settings.destinations)
                self._folders.reloaded.touch(0o600)
            except (LedgerUnavailable, OSError) as error:
                self.reload_wanted.set()  # the rest of it, until the disk has taken it
                self._reload_at = time.monotonic() + _RELOAD_AGAIN_S
                log.error("reload.waits", reason=str(error))  # noqa: TRY400 - said in one line
                return {"refused": f"{error}; it is tried again until it can be written down"}
            log.info("reload.applied", **asdict(found))
            return asdict(found)

    def _take_over(self, settings: Settings) -> None:
        """Listen by these settings and note them in the trail; raises, with nothing changed, where one cannot be."""
        self._scp.apply(reception.scp_settings(settings, self._surroundings.listen_fd))
        try:
            self._auditor.note_settings(settings)
        except LedgerUnavailable:
            with suppress(SettingsError):
                self._scp.apply(reception.scp_settings(self._settings, self._surroundings.listen_fd))
            raise

    def _dispatch_settings(self) -> DispatchSettings:
        return DispatchSettings(
            bundle_sha256=self._bundle_sha256,
            timeout_s=self._settings.analysis.timeout_s,
            crash_limit=self._settings.analysis.crash_limit,
            destinations=tuple(destination.name for destination in self._settings.destinations),
            config_sha256=settings_digest(self._settings),
            software_sha256=self._software.sha256,
        )

    def _recover(self) -> None:
        """Take up what an earlier run left: nothing acknowledged is lost, nothing half-done is believed."""
        bring_home(self._ledger, self._folders)
        self._folders.clear_leftovers()
        self._timekeeper.begin()
        self._auditor.note_start(self._settings, self._software, self._bundle_sha256)
        with self._ledger.transaction() as connection:
            released = jobs.release_all(connection)
            interrupted = outbox.release_all(connection)
            studies.recompose_unpublished(connection)
            studies.queue_missing_analyses(connection, self._bundle_sha256, self._clock())
        log.info("ledger.recovered", jobs=released, deliveries=interrupted)

    def _start_threads(self) -> None:
        stopping = self.threads.stopping
        publish_ahead = self._dispatcher.publish_ahead
        closer = Closer(self._ledger, self._bundle_sha256, self._bell, self._clock, stopping, publish_ahead)
        control = Control(self._folders.control, self._commands(), stopping)
        self.threads.start("dispatcher", self._dispatcher.run)
        self.threads.start("timekeeper", self._timekeeper.run)
        self.threads.start("closer", closer.run)
        self.threads.start("control", control.run)
        self.threads.start("auditor", self._auditor.run)
        self.threads.start("keeper", self._keeper.run, _PURGE_S)
        self.threads.start("blanks", lambda: keep_blanks(self._intake.blanks, stopping))
        self.threads.start("scrubber", self._scrubber().run, _READ_S)
        if self._settings.audit.syslog:
            from dicom_node.services.syslog import SyslogSender  # noqa: PLC0415 - only where there is one

            sender = SyslogSender(self._settings.audit, self._settings.node.ae_title, self._ledger, stopping)
            self.threads.start("syslog", sender.run, _SEND_S)
        if self._settings.log.traces:
            from dicom_node.services.tracing import Tracer  # noqa: PLC0415 - as above

            told = (self._settings.log.traces, self._settings.node.ae_title)
            tracer = Tracer(*told, self._ledger, self._folders.ledger, stopping)
            self.threads.start("tracer", tracer.run, _SEND_S)

    def _scrubber(self) -> Scrubber:
        recording = (reception.quiet_of(self._settings), self._bundle_sha256)
        speed = self._settings.keep.scrub_mib_per_s
        return Scrubber(self._ledger, self._folders, recording, speed, self._clock, self.threads.stopping)

    def _commands(self) -> dict[str, Callable[[Answer], Answer]]:
        return {
            "status": lambda _request: self._status(),
            "reload": lambda _request: self.reload(),
            "pause": lambda _request: self._pause(),
            "resume": lambda _request: self._resume(),
            **desk.commands(self._ledger, self._bell, self._clock, self._couriers.reopen),
        }

    def _pause(self) -> Answer:
        self._scp.pause()
        self._accepting = False
        self._note("node.paused", "no new associations, by hand")
        return self._status()

    def _resume(self) -> Answer:
        self._scp.resume()
        self._accepting = True
        self._note("node.resumed", "associations are taken again, by hand")
        return self._status()

    def _note(self, event: str, detail: str) -> None:
        with self._ledger.transaction() as connection:
            audit.note(connection, self._clock(), event, detail=detail)
        log.warning(event)

    def _status(self) -> Answer:
        names = tuple(destination.name for destination in self._settings.destinations)
        with self._ledger.transaction() as connection:
            found = standing(connection, names)
        return {
            **found,
            "at": self._clock(),
            "running_for_s": time.monotonic() - self._started,
            "accepting": self._accepting and self._space.accepting(),
            "problem": self._space.problem,
            "refused": self._scp.refusals(),
            "workers": self._dispatcher.workers,
            "bundle_sha256": self._bundle_sha256,
            "version": __version__,
            "late_loops": list(self.threads.heartbeats.late()),
            "pid": os.getpid(),
        }

    def _in_words(self) -> str:
        """Return the line that `systemctl status` shows."""
        problem = self._space.problem
        state = f"not accepting ({problem})" if problem else "accepting" if self._accepting else "not accepting"
        workers = self._dispatcher.workers
        joined = {0: "no worker yet", 1: "1 worker"}.get(workers, f"{workers} workers")
        title, port = self._settings.node.ae_title, self._scp.port
        return f"{state} as {title} on port {port}; {desk.waiting(self._ledger)}; {joined}"

    def _listen(self) -> None:
        """Listen; an earlier node that was killed may hold the port for a moment."""
        reception.warn_of_expiry(self._settings)
        for attempt in range(_BIND_TRIES):
            try:
                self._scp.start()
            except OSError:
                if attempt + 1 == _BIND_TRIES:
                    raise
                time.sleep(0.1)
            else:
                return


if __name__ == "__main__":
    process.end(main())
