"""One thing at a time done beside the loop that asked for it."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType


class Aside:
    """Runs one task after another in a thread of its own; what a task raises, the next call here raises.

    Use as a context manager: leaving it waits for the last task. Making one raises RuntimeError where no thread is to
    be had.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1)
        self._last: Future[None] | None = self._pool.submit(lambda: None)  # the thread is there before any task is

    def run(self, task: Callable[[], None]) -> None:
        """Start a task once the one before has ended."""
        last, self._last = self._last, None
        if last is not None:
            last.result()
        self._last = self._pool.submit(task)

    def check(self) -> None:
        """Raise what the last task raised, if it has ended."""
        if self._last is not None and self._last.done():
            last, self._last = self._last, None
            last.result()

    def __enter__(self) -> Aside:  # noqa: PYI034 - typing.Self needs Python 3.11
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True)
        last, self._last = self._last, None
        if last is not None:
            last.result()
