"""CPU time and memory of a node's processes while it works, restarts included."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psutil

from tests.support.node import Node, role_of

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass
class Usage:
    """CPU seconds and peak resident memory (bytes) of all processes that played one role."""

    peak_rss: int = 0
    cpu_by_pid: dict[int, float] = field(default_factory=dict)

    @property
    def cpu_s(self) -> float:
        """CPU seconds of all of them together."""
        return sum(self.cpu_by_pid.values())


class Watch:
    """Samples a node (and other processes by name) until it is stopped."""

    def __init__(self, node: Node, others: dict[str, int] | None = None, every_s: float = 0.25) -> None:
        self._node, self._others, self._every_s = node, others or {}, every_s
        self.usage: dict[str, Usage] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._sample()

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            self._sample()

    def _sample(self) -> None:
        watched = [(role_of(process), process) for process in self._node.tree()]
        for name, pid in self._others.items():
            if psutil.pid_exists(pid):
                watched.append((name, psutil.Process(pid)))
        for role, process in watched:
            try:
                rss, cpu = process.memory_info().rss, process.cpu_times()
            except psutil.Error:
                continue
            usage = self.usage.setdefault(role, Usage())
            usage.peak_rss = max(usage.peak_rss, rss)
            usage.cpu_by_pid[process.pid] = cpu.user + cpu.system
