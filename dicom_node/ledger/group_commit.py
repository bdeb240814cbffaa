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

    Each work sees what those before it in the group did. None returns before the transaction is on disk.
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
        try:
            with self._ledger.transaction() as connection:
                for work in group:
                    work.attempt(connection, is_alone=len(group) == 1)
        except Exception as error:  # noqa: BLE001 - each thread of the group raises it as its own
            for work in group:
                work.fail(error)
        for work in group:
            work.is_done = True


class _Work(Generic[T]):
    def __init__(self, step: Callable[[Connection], T]) -> None:
        self._step = step
        self._results: list[T] = []
        self._error: Exception | None = None
        self.is_done = False

    def attempt(self, connection: Connection, *, is_alone: bool) -> None:
        """Do the work; its failure undoes its own changes alone."""
        if is_alone:
            self._results.append(self._step(connection))
            return
        try:
            with connection.begin_nested():
                self._results.append(self._step(connection))
        except Exception as error:
            if connection.invalidated:  # gone, and with it what the others did
                raise
            self._error = error  # raised in the thread whose work it is

    def fail(self, error: Exception) -> None:
        """Make the group's failure this work's, unless it has one of its own."""
        self._results.clear()
        self._error = self._error or error

    def result(self) -> T:
        """Return what the work returned, or raise what it came to."""
        if self._error is not None:
            raise self._error
        return self._results[0]
