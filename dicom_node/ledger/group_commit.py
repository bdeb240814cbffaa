"""One durable transaction for everyone who waits: an fsync costs the same for one instance as for ten."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection

    from dicom_node.ledger.database import Database

T = TypeVar("T")

_PATIENCE_S = 0.002  # about what a file's flush takes: a commit saved is another flush and most of a commit's pages


class GroupCommit(Generic[T]):
    """Runs the work of several threads in one transaction: who gets the lock takes along all that wait for it.

    It waits a moment for those that are on their way, which have only their file to flush before.

    Each work sees what those before it in the group did. None returns before the transaction is on disk. Where one of a
    group fails, all is undone and each is done again in a transaction of its own: that is rare, and a savepoint around
    each work would cost every group a third of its statements.
    """

    def __init__(self, ledger: Database) -> None:
        self._ledger = ledger
        self._waiting: list[_Work[T]] = []
        self._queue = threading.Condition(threading.Lock())
        self._coming = self._arrived = 0
        self._commit_lock = threading.Lock()

    def run(self, step: Callable[[Connection], T], first: Callable[[], None] = lambda: None) -> T:
        """Return what `step` returns, once it is committed; raises what it raises, with its own changes undone.

        first: what this thread has to do before, such as a sync; who is about to commit waits for it, for a moment.
        Raises LedgerUnavailable, for all in the group, where the transaction fails.
        """
        work = _Work(step)
        with self._queue:
            self._coming += 1
        try:
            first()
        except BaseException:
            self._arrive(())
            raise
        self._arrive((work,))
        with self._commit_lock:
            if not work.is_done:
                self._commit()
        return work.result()

    def _arrive(self, works: Sequence[_Work[T]]) -> None:
        with self._queue:
            self._coming -= 1
            self._arrived += 1
            self._waiting += works
            self._queue.notify()

    def _commit(self) -> None:
        with self._queue:
            expected = self._arrived + self._coming
            if self._coming:
                self._queue.wait_for(lambda: self._arrived >= expected, _PATIENCE_S)
            group, self._waiting = self._waiting, []
        if not self._together(group):
            for work in group:
                self._together([work])
        for work in group:
            work.is_done = True

    def _together(self, group: list[_Work[T]]) -> bool:
        """Do the work of a group in one transaction; false where a part of several failed, and all is undone."""
        in_work = False
        try:
            with self._ledger.transaction() as connection:
                in_work = True
                for work in group:
                    work.attempt(connection)
                in_work = False
        except Exception as error:  # noqa: BLE001 - each thread of the group raises it as its own
            if in_work and len(group) > 1:
                return False
            for work in group:
                work.fail(error)
        return True


class _Work(Generic[T]):
    def __init__(self, step: Callable[[Connection], T]) -> None:
        self._step = step
        self._results: list[T] = []
        self._error: Exception | None = None
        self.is_done = False

    def attempt(self, connection: Connection) -> None:
        """Do the work."""
        self._results = [self._step(connection)]

    def fail(self, error: Exception) -> None:
        """Keep the error for the thread whose work it is."""
        self._error = error

    def result(self) -> T:
        """Return what the work returned, or raise what it came to."""
        if self._error is not None:
            raise self._error
        return self._results[0]
