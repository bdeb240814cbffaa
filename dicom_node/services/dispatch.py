"""The node's side of the worker socket: leases jobs, takes answers, counts crashes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from dicom_node.core.delivery import Backoff
from dicom_node.core.findings import Reason, ReasonCode, not_analysed
from dicom_node.ledger import audit, jobs, results, studies
from dicom_node.ledger.jobs import Lease
from dicom_node.ledger.results import Published, ReportObject
from dicom_node.ledger.spool import StateFolders, combined_digest, file_digests, move_folder, publish_folder
from dicom_node.services import losses
from dicom_node.services.answers import analysis_facts, fields_of, finding_facts, image_of, is_of, uids_of
from dicom_node.services.aside import Aside
from dicom_node.services.drafting import LEAD_S, Drafts, compose_job
from dicom_node.services.listening import accept
from dicom_node.services.messages import (
    AHEAD,
    FINDING,
    Analysed,
    AnalyseJob,
    Channel,
    Composed,
    ComposeJob,
    Failed,
    Hello,
    Idle,
    Image,
    Next,
    Purge,
    Purged,
    listen,
)
from dicom_node.services.unwritten import Unwritten

if TYPE_CHECKING:
    from collections.abc import Callable

    from dicom_node.ledger.database import Database
    from dicom_node.services.drafting import Draft
    from dicom_node.services.messages import Message
    from dicom_node.services.threads import Bell, Threads

log = structlog.get_logger(__name__)

_ACCEPT_S = 1.0
_LONG_POLL_S = 5.0
_GRACE_S = 10.0  # the worker ends itself at the time-out; this is for its goodbye
_STALE_S = 60.0  # a lease that ended so long ago has no worker any more
_RETRY = Backoff(first_s=1.0, longest_s=300.0, give_up_s=7 * 86400.0)
_NEVER = Backoff(first_s=1.0, longest_s=1.0, give_up_s=float("-inf"))  # for what repeating cannot mend


@dataclass(frozen=True, slots=True)
class DispatchSettings:
    """Which bundle answers, how long a job may take (seconds), how often it may crash, and who gets the results."""

    bundle_sha256: str
    timeout_s: float
    crash_limit: int
    destinations: tuple[str, ...]
    config_sha256: str = ""
    software_sha256: str = ""


class Dispatcher:
    """Serves workers, each in a thread of its own; a lease lives exactly as long as its worker's connection."""

    def __init__(  # noqa: PLR0913 - the parts of the node that one job touches
        self,
        settings: DispatchSettings,
        *,
        ledger: Database,
        folders: StateFolders,
        bell: Bell,
        clock: Callable[[], float],
        dice: Callable[[], float],
        threads: Threads,
        purge: Callable[[str], int],
        installed: Callable[[], str],
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._folders = folders
        self._bell = bell
        self._clock = clock
        self._dice = dice
        self._threads = threads
        self._purge = purge
        self._installed = installed
        self._workers = 0
        self._drafts = Drafts(folders)
        self._unwritten = Unwritten()
        self._listener = listen(folders.socket)
        self._listener.settimeout(_ACCEPT_S)

    def apply(self, settings: DispatchSettings) -> None:
        """Go by these settings from the next job on."""
        self._settings = settings
        self._drafts.clear()

    @property
    def workers(self) -> int:
        """How many workers are connected."""
        return self._workers

    def run(self) -> None:
        """Accept workers until the node stops."""
        number = 0
        while not self._threads.stopping.is_set():
            sock = accept(self._listener)
            if sock is None:
                continue
            number += 1
            channel = Channel(sock)
            turn_s = self._settings.timeout_s + 2 * _GRACE_S + _LONG_POLL_S
            try:
                self._threads.start(f"worker-{number}", lambda channel=channel: self._serve(channel), turn_s)  # type: ignore[misc]
            except RuntimeError:  # no thread is to be had: it comes again
                channel.close()
        self._listener.close()

    def _serve(self, channel: Channel) -> None:
        try:
            hello = channel.receive(_GRACE_S)
            if isinstance(hello, Purge):
                channel.send(Purged(self._purge(hello.study_instance_uid)))
            if not isinstance(hello, Hello):
                return
            log.info("worker.joined", bundle=hello.bundle_sha256, runtime=hello.runtime, problem=hello.problem)
            if hello.bundle_sha256 != self._settings.bundle_sha256:
                self._meet_another(hello.bundle_sha256)
                return
            self._workers += 1
            try:
                with Aside() as aside:
                    while not self._threads.stopping.is_set() and isinstance(channel.receive(), Next):
                        aside.check()
                        self._serve_one(channel, aside)
            finally:
                self._workers -= 1
                self._drafts.clear()  # the next worker may have other settings
        except (EOFError, OSError, ValueError, RuntimeError) as error:
            log.info("worker.left", cause=type(error).__name__)
        finally:
            channel.close()

    def _meet_another(self, bundle_sha256: str) -> None:
        """Turn away a worker that was left behind; a node that was starts afresh: rows must name the right bundle."""
        ours = self._settings.bundle_sha256
        if self._installed() == ours:
            log.warning("worker.stale", bundle=bundle_sha256, installed=ours, reason="restart this worker")
            return
        log.warning("bundle.changed", before=ours, now=bundle_sha256)
        self._threads.stopping.set()

    def _serve_one(self, channel: Channel, aside: Aside) -> None:
        lease = self._lease()
        if isinstance(lease, ComposeJob):
            with structlog.contextvars.bound_contextvars(**uids_of(lease)):
                self._compose_ahead(channel, lease)
        elif lease is None:
            channel.send(Idle())
        else:
            with self._unwritten.given_again(lease):
                job = self._job(lease)
                with structlog.contextvars.bound_contextvars(**uids_of(job)):
                    self._do(channel, lease, job, aside)

    def publish_ahead(self, version_id: int) -> None:
        """Publish a version whose composition is queued at once, where it was composed ahead as it is to be now."""
        if not self._drafts:
            return
        with self._ledger.transaction() as connection:
            version = results.to_compose(connection, version_id, self._settings.bundle_sha256)
            draft = self._drafts.take(compose_job(version, ""))
            if draft is None:
                return
            lease = jobs.lease_composition(connection, version_id, self._clock(), self._settings.timeout_s)
        if lease is not None:
            with self._unwritten.given_again(lease), structlog.contextvars.bound_contextvars(**uids_of(draft.job)):
                self._take_draft(lease, draft)

    def _compose_ahead(self, channel: Channel, job: ComposeJob) -> None:
        """Have a result composed before its study is closed; whatever goes wrong, it is composed after it as well."""
        channel.send(job)
        answer = channel.receive(self._settings.timeout_s + _GRACE_S)
        if isinstance(answer, Composed) and is_of(answer, job) and self._drafts.keep(job, answer):
            log.info("result.ahead", took_ms=answer.took_ms)
        else:
            log.info("result.not-ahead", reason=answer.error if isinstance(answer, Failed) else None)

    def _do(self, channel: Channel, lease: Lease, job: AnalyseJob | ComposeJob, aside: Aside) -> None:
        if isinstance(job, ComposeJob) and (draft := self._drafts.take(job)) is not None:
            self._take_draft(lease, draft)
            channel.send(Idle())
            return
        try:
            channel.send(job)
            answer = channel.receive(self._settings.timeout_s + _GRACE_S)
        except (EOFError, OSError, ValueError) as error:
            self._crashed(lease, type(error).__name__)
            raise
        aside.run(lambda: self._settle(lease, job, answer))

    def _settle(self, lease: Lease, job: AnalyseJob | ComposeJob, answer: Message) -> None:
        """Put an answer in its place, while its worker is at the next job."""
        with self._unwritten.given_again(lease), structlog.contextvars.bound_contextvars(**uids_of(job)):
            try:
                self._take(lease, job, answer)
            except OSError as error:  # the disk's fault, and not the worker's: it is asked again after a while
                self._failed(lease, f"the answer could not be put in place ({type(error).__name__})")
        self._bell.ring()

    def _take(self, lease: Lease, job: AnalyseJob | ComposeJob, answer: Message) -> None:
        with self._ledger.transaction() as connection:
            held = jobs.is_held(connection, lease)
        if not held:
            log.info("answer.dropped", job=lease.job_id, kind=lease.kind)
        elif isinstance(answer, Analysed) and isinstance(job, AnalyseJob) and is_of(answer, job):
            self._take_analysis(lease, job, answer)
        elif isinstance(answer, Composed) and isinstance(job, ComposeJob) and is_of(answer, job):
            self._take_composition(lease, job.folder, answer)
        else:
            failed = answer if isinstance(answer, Failed) else Failed("an answer to another question")
            self._failed(lease, failed.error, _NEVER if failed.permanent else _RETRY)

    def _lease(self) -> Lease | ComposeJob | None:
        heard = self._bell.count()
        lease, due = self._try_lease()
        if lease is None and not self._threads.stopping.is_set():
            # A job that waits for its next try becomes due without anyone ringing, and so does a draft.
            self._bell.wait(heard, _LONG_POLL_S if due is None else min(due - self._clock(), _LONG_POLL_S))
            lease, _ = self._try_lease()
        return lease

    def _try_lease(self) -> tuple[Lease | ComposeJob | None, float | None]:
        """Return a lease, or what to compose ahead where nothing is to be done; or else when to ask again."""
        with self._unwritten.released(self._ledger) as connection:
            return self._found(connection, self._clock())

    def _found(self, connection: Any, now: float) -> tuple[Lease | ComposeJob | None, float | None]:
        jobs.release_stale(connection, now - _STALE_S)
        lease = jobs.lease(connection, now, self._settings.timeout_s)
        if lease is not None:
            return lease, None
        ahead = results.to_compose_ahead(connection, self._settings.bundle_sha256, now, now + LEAD_S)
        closing = studies.next_closing(connection, now + LEAD_S)
        dues = (jobs.next_due(connection), None if closing is None else closing - LEAD_S)
        return self._drafts.next_job(ahead), min((due for due in dues if due is not None), default=None)

    def _job(self, lease: Lease) -> AnalyseJob | ComposeJob:
        folder = f"{self._folders.work.name}/{lease.job_id}-{lease.fence}"
        with self._ledger.transaction() as connection:
            if lease.instance_id is not None:
                image = results.image(connection, lease.instance_id)
                return AnalyseJob(image_of(image), folder, self._upcoming(connection, lease))
            version = results.to_compose(connection, lease.version_id or 0, self._settings.bundle_sha256)
        return compose_job(version, folder)

    def _upcoming(self, connection: Any, lease: Lease) -> tuple[Image, ...]:
        """Return what a worker may look at beside an image: nothing where another worker may come first.

        A worker that ends is counted against the image that it has a lease of, be it the fault of one beside it. So
        an image that was there when one ended is done alone the next time: its neighbours cost it one count at most.
        Where one count is enough to give it up, every image is done alone.
        """
        if lease.crashes or self._workers > 1 or self._settings.crash_limit == 1:
            return ()
        upcoming = jobs.next_images(connection, self._clock(), AHEAD)
        return tuple(image_of(results.image(connection, instance_id)) for instance_id in upcoming)

    def _take_analysis(self, lease: Lease, job: AnalyseJob, answer: Analysed) -> None:
        instance_id = lease.instance_id or 0
        kept = None
        if answer.folder_sha256 is not None:
            name = f"{instance_id % 256:02x}/{instance_id}-{self._settings.bundle_sha256[:16]}"
            kept = f"{self._folders.analyses.name}/{name}"
            if self._publish(job.folder, kept, answer.folder_sha256) is None:
                self._failed(lease, "the result folder does not have the digest that the worker stated")
                return
        analysed = results.Analysed(
            instance_id,
            self._settings.bundle_sha256,
            FINDING.dump_json(answer.finding).decode(),
            kept,
            answer.folder_sha256,
            self._facts() | analysis_facts(answer),
        )
        with self._ledger.transaction() as connection:
            if jobs.complete(connection, lease):
                results.save_analysis(connection, analysed, self._clock())
                if answer.finding.reason is not None and answer.finding.reason.code is ReasonCode.DAMAGED:
                    losses.set_aside_as_told(connection, self._folders, instance_id, self._clock())
        if answer.alert:
            self._alert(job, answer.alert)
        finding = answer.finding
        log.info(
            "image.analysed",
            outcome=finding.outcome.value,
            reason=finding.reason.text if finding.reason else None,
            engine_ms=answer.engine_ms,
            took_ms=answer.took_ms,
        )

    def _alert(self, job: AnalyseJob, alert: str) -> None:
        """Say what is wrong with the machine where people look: in the log and in the study's history."""
        with self._ledger.transaction() as connection:
            audit.note(connection, self._clock(), "model.alert", detail=alert, **uids_of(job))
        log.error("model.alert", reason=alert)

    def _take_composition(self, lease: Lease, folder: str, answer: Composed) -> None:
        kept = self._folders.name_of_result(lease.version_id or 0)
        digests = self._publish(folder, kept, answer.folder_sha256)
        if digests is None:
            self._failed(lease, "the result folder does not have the digest that the worker stated")
            return
        self._publish_version(lease, answer, kept, digests)

    def _take_draft(self, lease: Lease, draft: Draft) -> None:
        """Publish what was composed ahead; where the disk does not let it, a worker composes it after a while."""
        kept = self._folders.name_of_result(lease.version_id or 0)
        try:
            move_folder(self._folders.root / draft.folder, self._folders.root / kept)
        except OSError as error:
            self._failed(lease, f"what was composed ahead could not be put in place ({type(error).__name__})")
            return
        self._publish_version(lease, draft.composed, kept, draft.digests, ahead=True)
        self._bell.ring()

    def _publish_version(
        self, lease: Lease, answer: Composed, kept: str, digests: dict[str, str], *, ahead: bool | None = None
    ) -> None:
        version_id, finding = lease.version_id or 0, answer.finding
        published = Published(
            outcome=finding.outcome.value,
            probability=finding.probability,
            reason_code=finding.reason.code.value if finding.reason else None,
            reason_text=finding.reason.text if finding.reason else None,
            bundle_sha256=self._settings.bundle_sha256,
            folder=kept,
            folder_sha256=answer.folder_sha256,
            objects=tuple(ReportObject(**fields_of(item)) for item in answer.objects),
            facts=self._facts() | {"files": digests},
        )
        with self._ledger.transaction() as connection:
            done = jobs.complete(connection, lease) and results.publish(
                connection, version_id, published, self._settings.destinations, self._clock()
            )
        event = "result.published" if done else "result.dropped"
        log.info(event, outcome=published.outcome, reason=published.reason_text, took_ms=answer.took_ms, ahead=ahead)

    def _publish(self, folder: str, kept: str, digest: str) -> dict[str, str] | None:
        """Put a folder in its place; return its files' digests, or None where they are not the stated ones."""
        source = self._folders.root / folder
        digests = file_digests(source)
        if combined_digest(digests) != digest:
            return None
        publish_folder(source, self._folders.root / kept)
        return digests

    def _facts(self) -> dict[str, Any]:
        return {"config_sha256": self._settings.config_sha256, "software_sha256": self._settings.software_sha256}

    def _failed(self, lease: Lease, error: str, backoff: Backoff = _RETRY) -> None:
        with self._ledger.transaction() as connection:
            dead = jobs.fail(connection, lease, error, backoff, self._clock(), self._dice())
        log.error("job.dead" if dead else "job.failed", job=lease.job_id, kind=lease.kind, reason=error)
        if dead:
            self._give_up(lease, error)

    def _crashed(self, lease: Lease, cause: str) -> None:
        if self._threads.stopping.is_set():
            return  # the restart makes the job ready again; its worker was stopped, it did not crash
        with self._ledger.transaction() as connection:
            dead = jobs.crash(connection, lease, f"the worker ended ({cause})", self._settings.crash_limit)
        log.error("job.dead" if dead else "job.crashed", job=lease.job_id, kind=lease.kind, crashes=lease.crashes + 1)
        if dead:
            self._give_up(lease, f"the worker ended {lease.crashes + 1} times at it")
        self._bell.ring()

    def _give_up(self, lease: Lease, error: str) -> None:
        """Say that a job is dead where people look for its result; an image without an answer is never silent."""
        now = self._clock()
        with self._ledger.transaction() as connection:
            if lease.version_id is not None:
                results.fail_version(connection, lease.version_id, error, now)
                log.critical("result.failed", reason=error)  # a study without a report: somebody must look
                losses.set_aside_lost(connection, self._folders, lease.version_id, now)
                return
            image = results.image(connection, lease.instance_id or 0)
            finding = not_analysed(image.sop_instance_uid, Reason(ReasonCode.CRASHED, f"the analysis failed: {error}"))
            text = FINDING.dump_json(finding).decode()
            facts = self._facts() | finding_facts(finding)
            answer = results.Analysed(image.instance_id, self._settings.bundle_sha256, text, None, None, facts)
            results.save_analysis(connection, answer, now)
