"""Who is inside: connections that have not asked for an association yet, and associations, each with a cap."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Generic, Protocol, TypeVar

_MOST_PENDING = 256  # from all addresses together
_BURST = 4  # times the cap that an address may hold for a moment
_BURST_S = 0.5


class Connection(Protocol):
    """An accepted connection: where it comes from, when it came, and how to end it."""

    address: str
    entered_at: float

    def hang_up(self) -> None:
        """End it from another thread."""


T = TypeVar("T", bound=Connection)


class Admission(Generic[T]):
    """Counts connections and associations; a connection only becomes an association by a request that is accepted."""

    def __init__(self, most_associations: int, pending_per_address: int) -> None:
        self._most = most_associations
        self._per_address = pending_per_address
        self._lock = threading.Lock()
        self._pending: dict[str, list[T]] = {}
        self._seated: set[T] = set()
        self._inside: set[T] = set()
        self._refusals: Counter[str] = Counter()

    def limit(self, most_associations: int, pending_per_address: int) -> None:
        """Go by other caps from now on; nobody who is inside has to leave."""
        with self._lock:
            self._most, self._per_address = most_associations, pending_per_address

    def enter(self, newcomer: T) -> bool:
        """Let a connection in; False where it must be closed at once.

        An address at its cap loses its oldest silent connection to the newcomer, so that silent ones cannot keep an
        honest one out. Connections younger than half a second are spared, for a modality that opens several at once.
        """
        with self._lock:
            waiting = self._pending.setdefault(newcomer.address, [])
            total = sum(map(len, self._pending.values()))
            if total >= _MOST_PENDING:
                self._evict(max(self._pending.values(), key=len))
            elif len(waiting) >= self._per_address:
                if waiting[0].entered_at < time.monotonic() - _BURST_S:
                    self._evict(waiting)
                elif len(waiting) >= self._per_address * _BURST:
                    self._refusals["address"] += 1
                    return False
            self._pending.setdefault(newcomer.address, []).append(newcomer)
            self._inside.add(newcomer)
            return True

    def seat(self, association: T) -> bool:
        """Make a connection an association; False where as many as may be are open."""
        with self._lock:
            self._forget_pending(association)
            if len(self._seated) >= self._most:
                return False
            self._seated.add(association)
            return True

    def leave(self, association: T) -> None:
        """Free what a connection or association held; again does nothing."""
        with self._lock:
            self._forget_pending(association)
            self._seated.discard(association)

    def gone(self, association: T) -> None:
        """Forget a connection whose thread ends."""
        with self._lock:
            self._inside.discard(association)

    def inside(self) -> list[T]:
        """Return every connection whose thread runs."""
        with self._lock:
            return list(self._inside)

    def count(self, kind: str) -> None:
        """Count a refusal under its kind."""
        with self._lock:
            self._refusals[kind] += 1

    def refusals(self) -> dict[str, int]:
        """Return how many connections were refused, by kind."""
        with self._lock:
            return dict(self._refusals)

    def _evict(self, waiting: list[T]) -> None:
        oldest = waiting.pop(0)
        self._refusals["address"] += 1
        oldest.hang_up()

    def _forget_pending(self, association: T) -> None:
        waiting = self._pending.get(association.address)
        if waiting is None:
            return
        if association in waiting:
            waiting.remove(association)
        if not waiting:
            del self._pending[association.address]
