"""kill -9 of a node's processes at random moments, while something else goes on."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

from tests.support.node import Node
from tests.support.waiting import until

if TYPE_CHECKING:
    from typing_extensions import Self


class Killer:
    """Kills `node`, `worker` and now and then the supervisor, which it then starts again."""

    #: How often each is chosen. The supervisor takes everything with it and is the slowest to come back.
    WEIGHTS = (("node", 4), ("worker", 4), ("supervisor", 1))

    def __init__(self, node: Node, dice: random.Random, every_s: tuple[float, float], most: int | None = None) -> None:
        self._node, self._dice, self._every_s, self._most = node, dice, every_s, most
        self.killed: Counter[str] = Counter()
        self.moments: list[float] = []
        self.failure: BaseException | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        # The first three take one of each, so that a short run has seen all of them.
        self._first = [role for role, _ in self.WEIGHTS]
        dice.shuffle(self._first)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._stop.set()
        self._thread.join(120)
        assert not self._thread.is_alive(), "it still kills"
        if self.failure is not None and kind is None:
            raise self.failure

    @property
    def total(self) -> int:
        """How many processes were killed so far."""
        return sum(self.killed.values())

    def at_least(self, count: int, limit_s: float) -> None:
        """Wait until so many were killed."""
        until(lambda: self.total >= count or self.failure, limit_s, f"{count} processes were killed")

    def _run(self) -> None:
        try:
            while not self._stop.wait(self._dice.uniform(*self._every_s)):
                if self._most is not None and self.total >= self._most:
                    return
                self._strike(self._first.pop() if self._first else self._draw())
        except BaseException as error:  # noqa: BLE001 - handed to the thread that started us
            self.failure = error

    def _draw(self) -> str:
        roles = [role for role, _ in self.WEIGHTS]
        return self._dice.choices(roles, [weight for _, weight in self.WEIGHTS])[0]

    def _strike(self, role: str) -> None:
        if role == "supervisor":
            self._node.kill_supervisor()
            self._node.start(wait_worker=False)
        else:
            # A child that is just being restarted is hit as soon as it is there.
            until(lambda: self._node.kill(role), 60, f"there is a {role} to kill", every_s=0.02)
        self.killed[role] += 1
        self.moments.append(time.time())
