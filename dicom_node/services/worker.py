"""The worker: asks the node for jobs and does them. Opens neither the ledger nor the network."""

from __future__ import annotations

import faulthandler
import shutil
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import structlog

from dicom_node.core.errors import DicomNodeError, EngineLost, Permanent, WorkerCrashed
from dicom_node.inference import plans
from dicom_node.ledger.spool import StateFolders
from dicom_node.services import notify, process, rebuild
from dicom_node.services.answers import uids_of
from dicom_node.services.digest import installed_bundle
from dicom_node.services.messages import AnalyseJob, Channel, ComposeJob, Failed, Hello, Idle, Message, Next, connect
from dicom_node.services.model import Model, load_model
from dicom_node.services.notify import Notifier
from dicom_node.services.strikes import Strikes
from dicom_node.services.threads import Heartbeats
from dicom_node.services.workbench import Workbench

if TYPE_CHECKING:
    from dicom_node.services.rebuild import Rebuild
    from dicom_node.settings import Settings

log = structlog.get_logger(__name__)

_RECONNECT_S = 0.2
_FORGET_S = 60.0
_SELF_TEST_S = 86400.0
_TURN_S = 15.0  # the node answers "idle" after five
_LOOP = "loop"


def main(argv: list[str] | None = None) -> int:
    """Run the worker until SIGTERM; a job in hand is finished first."""
    worker = Worker(process.begin("worker", argv).settings, notify.notifier())
    process.on_stop_signal(worker.stop)
    try:
        worker.run()
    except WorkerCrashed as error:
        log.error("engine.unavailable", reason=str(error))  # noqa: TRY400 - said in one line
        return process.EXIT_FAILED
    return process.EXIT_OK


class Worker:
    """One connection to the node, one job at a time."""

    def __init__(self, settings: Settings, notifier: Notifier | None = None) -> None:
        self._notifier = notifier or Notifier()
        self._heartbeats = Heartbeats()
        self._folders = StateFolders(settings.node.state_dir)
        self._timeout_s = settings.analysis.timeout_s
        self._release_idle_s = settings.analysis.release_idle_s
        self._last_image = self._last_test = time.monotonic()
        self._settings = settings
        self._stopping = threading.Event()
        self._waiting = False
        self._rebuild: Rebuild | None = None

    def stop(self) -> None:
        """Stop after the job in hand; at once where there is none."""
        self._stopping.set()
        if self._waiting:
            raise SystemExit(process.EXIT_OK)

    def run(self) -> None:
        """Load the model, then serve the node, connecting again whenever it was restarted."""
        faulthandler.dump_traceback_later(self._timeout_s, exit=True)  # a device that is asked may never answer
        try:
            model = load_model(self._settings.analysis, self._folders.strikes)
        finally:
            faulthandler.cancel_dump_traceback_later()
        bench = Workbench(self._settings, model)
        self._rebuild = self._start_rebuild(model)
        log.info("worker.ready", bundle=model.sha256, runtime=model.runtime, problem=model.problem)
        self._heartbeats.expect(_LOOP, _TURN_S)
        self._notifier.ready(f"{model.runtime}{f'; {model.problem}' if model.problem else ''}")
        threading.Thread(target=self._show_life, name="life", daemon=True).start()
        threading.Thread(target=bench.warm_up, name="warm-up", daemon=True).start()
        try:
            while not self._stopping.is_set():
                self._heartbeats.beat(_LOOP)
                channel = self._connect()
                if channel is not None and self._is_current(channel, model):
                    self._serve(channel, bench, model)
        finally:
            self._notifier.stopping()
            if self._rebuild is not None:
                self._rebuild.stop()
            bench.close()
            model.release()

    def _show_life(self) -> None:
        """Give the watchdog its signs of life for as long as the loop turns and no job takes longer than it may."""
        while True:
            if not self._heartbeats.late():
                self._notifier.alive()
            time.sleep(self._notifier.every_s)

    def _connect(self) -> Channel | None:
        try:
            return connect(self._folders.socket)
        except OSError:  # the node is not up yet, or just restarting
            self._stopping.wait(_RECONNECT_S)
            return None

    def _is_current(self, channel: Channel, model: Model) -> bool:
        """Tell whether the model is still the installed one; where not, the next worker loads what is there now."""
        if installed_bundle(self._settings.analysis) == model.sha256:
            return True
        log.warning("bundle.replaced", bundle=model.sha256)
        channel.close()
        self._stopping.set()
        return False

    def _serve(self, channel: Channel, bench: Workbench, model: Model) -> None:
        try:
            channel.send(Hello(model.sha256, model.runtime, model.problem))
            while not self._stopping.is_set():
                self._heartbeats.expect(_LOOP, _TURN_S)
                channel.send(Next())
                job = self._await(channel)
                if isinstance(job, Idle):
                    self._rest(bench, model)
                else:
                    channel.send(self._do(job, bench))
                self._test_daily(bench, model)
                if self._rebuild is not None and self._rebuild.succeeded():
                    self._stopping.set()  # the next worker uses the plan
        except (EOFError, OSError) as error:
            log.info("node.lost", cause=type(error).__name__)
            self._stopping.wait(_RECONNECT_S)
        finally:
            channel.close()

    def _await(self, channel: Channel) -> Message:
        self._waiting = True
        try:
            return channel.receive()
        finally:
            self._waiting = False

    def _start_rebuild(self, model: Model) -> Rebuild | None:
        settings = self._settings.analysis
        if not (settings.rebuild and model.stale):
            return None
        tried = Strikes(self._folders.rebuilds, plans.fingerprint(settings.bundle))
        return rebuild.start(settings.bundle, self._folders.build_output, tried, model.fallback or model.problem or "")

    def _rest(self, bench: Workbench, model: Model) -> None:
        idle_s = time.monotonic() - self._last_image
        if idle_s >= _FORGET_S:
            bench.forget()
        if self._release_idle_s and idle_s >= self._release_idle_s:
            with bench.turn:
                model.release()

    def _test_daily(self, bench: Workbench, model: Model) -> None:
        """Ask the model its known answer once a day; another one ends this process, and the next start decides."""
        if time.monotonic() - self._last_test < _SELF_TEST_S:
            return
        self._last_test = time.monotonic()
        faulthandler.dump_traceback_later(self._timeout_s, exit=True)
        self._heartbeats.expect(_LOOP, self._timeout_s + _TURN_S)
        try:
            with bench.turn:
                model.test()
        except EngineLost as error:
            log.error("selftest.failed", reason=str(error))  # noqa: TRY400 - said in one line
            process.end(process.EXIT_FAILED)
        finally:
            faulthandler.cancel_dump_traceback_later()
        log.info("selftest.passed", runtime=model.runtime)

    def _do(self, job: Message, bench: Workbench) -> Message:
        """Do one job; what hangs, in whatever library, ends this process, and the node counts a crash."""
        faulthandler.dump_traceback_later(self._timeout_s, exit=True)
        self._heartbeats.expect(_LOOP, self._timeout_s + _TURN_S)
        try:
            if isinstance(job, AnalyseJob):
                self._clear(job.folder)
                self._last_image = time.monotonic()
                return bench.analyse(job)
            if isinstance(job, ComposeJob):
                self._clear(job.folder)
                return bench.compose(job)
            return Failed(f"the worker does not know {type(job).__name__}")
        except EngineLost as error:
            # Nothing is released first: a lost device may hang in that. The node sees the connection end and counts.
            log.error("engine.lost", reason=str(error), study=getattr(job, "study_instance_uid", None))  # noqa: TRY400
            process.end(process.EXIT_FAILED)
        except DicomNodeError as error:
            return Failed(str(error), permanent=isinstance(error, Permanent))
        except Exception as error:
            # Outermost frame of a job: its failure is the node's to judge, the worker goes on.
            log.exception("job.failed", **_uids(job))
            return Failed(f"{type(error).__name__} in the worker; see its log")
        finally:
            faulthandler.cancel_dump_traceback_later()

    def _clear(self, folder: str) -> None:
        shutil.rmtree(self._folders.root / folder, ignore_errors=True)


def _uids(job: Message) -> dict[str, Any]:
    return uids_of(job) if isinstance(job, (AnalyseJob, ComposeJob)) else {}


if __name__ == "__main__":
    sys.exit(main())
