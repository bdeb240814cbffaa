"""Results composed before their study is closed: made while nothing else is to be done, taken up if they still fit.

Nothing of it is kept in rows: a restart forgets drafts, and the result is then composed as if there had been none.
"""

from __future__ import annotations

import shutil
import threading
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING

from dicom_node.ledger.spool import combined_digest, file_digests, move_folder, sync_files
from dicom_node.services.messages import FINDING, Composed, ComposeJob, Reference, ViewToCompose

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dicom_node.ledger.results import VersionToCompose
    from dicom_node.ledger.spool import StateFolders

LEAD_S = 4.0
"""So long before its time a study's result is composed: late enough that what still comes seldom makes it useless."""

_FORGET_S = 60.0


@dataclass(frozen=True, slots=True)
class Draft:
    """A composed result, its files synced; `folder` is relative to the state folder, and out of the worker's reach."""

    job: ComposeJob
    composed: Composed
    folder: str
    digests: dict[str, str]


class Drafts:
    """The drafts at hand, at most one a study; may be asked from several threads."""

    def __init__(self, folders: StateFolders) -> None:
        self._folders = folders
        self._lock = threading.Lock()
        self._numbers = count(1)
        self._tried: dict[str, ComposeJob] = {}
        self._made: dict[str, Draft] = {}

    def next_job(self, versions: Iterable[VersionToCompose]) -> ComposeJob | None:
        """Return the first of these results that is to be composed; each is asked for once, whatever becomes of it."""
        for version in versions:
            job = compose_job(version, "")
            with self._lock:
                known = self._tried.get(job.study_instance_uid) == job
                self._tried[job.study_instance_uid] = job
            if not known:
                return replace(job, folder=f"{self._folders.work.name}/ahead-{next(self._numbers)}")
        return None

    def keep(self, job: ComposeJob, composed: Composed) -> bool:
        """Keep what a worker made, synced and where it cannot change it; false where it is not what it stated."""
        source = self._folders.root / job.folder
        digests = file_digests(source)
        if combined_digest(digests) != composed.folder_sha256:
            return False
        sync_files(source)
        folder = f"{self._folders.ahead.name}/{next(self._numbers)}"
        move_folder(source, self._folders.root / folder)
        draft = Draft(replace(job, folder=""), composed, folder, digests)
        self._forget_before(job.closed_at - _FORGET_S)
        with self._lock:
            before = self._made.pop(job.study_instance_uid, None)
            self._made[job.study_instance_uid] = draft
        self._remove(before)
        return True

    def take(self, job: ComposeJob) -> Draft | None:
        """Return the draft that is this job's answer, which is then the caller's; one that no longer fits goes."""
        with self._lock:
            self._tried.pop(job.study_instance_uid, None)
            draft = self._made.pop(job.study_instance_uid, None)
        if draft is None or draft.job == replace(job, folder=""):
            return draft
        self._remove(draft)
        return None

    def clear(self) -> None:
        """Forget all: another worker, or other settings, might make them otherwise."""
        with self._lock:
            drafts = list(self._made.values())
            self._made.clear()
            self._tried.clear()
        for draft in drafts:
            self._remove(draft)

    def __bool__(self) -> bool:
        return bool(self._made)

    def _forget_before(self, closed_at: float) -> None:
        with self._lock:
            old = [uid for uid, job in self._tried.items() if job.closed_at < closed_at]
            drafts = [self._made.pop(uid, None) for uid in old]
            for uid in old:
                del self._tried[uid]
        for draft in drafts:
            self._remove(draft)

    def _remove(self, draft: Draft | None) -> None:
        if draft is not None:
            shutil.rmtree(self._folders.root / draft.folder, ignore_errors=True)


def compose_job(version: VersionToCompose, folder: str) -> ComposeJob:
    """Return what a worker is told of a version."""
    return ComposeJob(
        study_instance_uid=version.study_instance_uid,
        version=version.number,
        closed_at=version.closed_at,
        views=tuple(
            ViewToCompose(
                view.sop_class_uid,
                view.sop_instance_uid,
                view.spool_key,
                FINDING.validate_json(view.finding),
                view.folder,
                view.sha256,
                view.size,
            )
            for view in version.views
        ),
        predecessors=tuple(
            Reference(report.sop_class_uid, report.sop_instance_uid, report.series_instance_uid)
            for report in version.predecessors
        ),
        folder=folder,
    )
