"""What is probably asked for next, done beforehand beside what is asked for now."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

K = TypeVar("K")
T = TypeVar("T")


class Lookahead(Generic[K, T]):
    """Does a few things beforehand, each in a thread; whoever asks for another has lost nothing. For one thread alone.

    most: how many, besides the one that is asked for.
    """

    def __init__(self, do: Callable[[K], T], most: int) -> None:
        self._do = do
        self._pool = ThreadPoolExecutor(most + 1, "ahead")  # the one that is asked for may be under way still
        self._begun: dict[K, Future[T]] = {}

    def begin(self, keys: Iterable[K]) -> None:
        """Begin these, in their order, but for those that are begun; what is not among them is dropped."""
        wanted = tuple(keys)
        for key in self._begun.keys() - set(wanted):
            self._begun.pop(key).cancel()
        for key in wanted:
            if key not in self._begun:
                self._begun[key] = self._pool.submit(self._do, key)

    def take(self, key: K) -> Future[T] | None:
        """Return what was begun of this one, done or on its way, which is then the caller's; None where nothing was."""
        return self._begun.pop(key, None)

    def close(self) -> None:
        """Drop what was begun, and wait for what cannot be stopped."""
        self.begin(())
        self._pool.shutdown(wait=True, cancel_futures=True)
