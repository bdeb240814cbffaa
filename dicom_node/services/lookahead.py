"""What is probably asked for next, done beforehand beside what is asked for now."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

K = TypeVar("K")
T = TypeVar("T")

_THREADS = 2  # one is asked for by now and may be under way still, when the next one is begun


class Lookahead(Generic[K, T]):
    """Does one thing beforehand, in a thread; whoever asks for another has lost nothing. For one thread alone."""

    def __init__(self, do: Callable[[K], T]) -> None:
        self._do = do
        self._pool = ThreadPoolExecutor(_THREADS, "ahead")
        self._begun: tuple[K, Future[T]] | None = None

    def begin(self, key: K | None) -> None:
        """Begin one, if it is not begun; what was begun before it and not asked for is dropped."""
        if key is None or (self._begun is not None and self._begun[0] == key):
            return
        self._drop()
        self._begun = key, self._pool.submit(self._do, key)

    def take(self, key: K) -> Future[T] | None:
        """Return what was begun of this one, done or on its way, which is then the caller's; None where nothing was."""
        if self._begun is None or self._begun[0] != key:
            return None
        (_, future), self._begun = self._begun, None
        return future

    def close(self) -> None:
        """Drop what was begun, and wait for what cannot be stopped."""
        self._drop()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _drop(self) -> None:
        if self._begun is not None:
            self._begun[1].cancel()
            self._begun = None
