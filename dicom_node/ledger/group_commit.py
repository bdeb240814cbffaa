"""One durable transaction for everyone who waits: an fsync costs the same for one instance as for ten."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from dicom_node.ledger.database import Database

T = TypeVar("T")


class GroupCommit(Generic[T]):
    """Runs the work of several threads in one transaction: who gets the lock takes along all that wait for it.

    Each work sees what those before it in the group did. None returns before the transaction is on disk. Where one of a
    group fails, all is undone and each is done again in a transaction of its own: that is rare, and a savepoint around
    each work would cost every group a third of its statements.
    """

    def __init__(self, ledger: Database) -> None:
        self._ledger = ledger
        self._waiting: list[_Work[T]] = []
        self._queue_lock = threading.Lock()
        self._commit_lock = threading.Lock()

    def run(self, step: Callable[[Connection], T]) -> T:
        """Return what `step` returns, once it is committed; raises what it raises, with its own changes undone.

        Raises LedgerUnavailable, for all in the group, where the transaction fails.
        """
        work = _Work(step)
        with self._queue_lock:
            self._waiting.append(work)
        with self._commit_lock:
            if not work.is_done:
                self._commit()
        return work.result()

    def _commit(self) -> None:
        with self._queue_lock:
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
