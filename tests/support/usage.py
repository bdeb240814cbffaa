"""CPU time and memory of a node's processes while it works, restarts included."""

from __future__ import annotations

import threading
import time
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
        #: Share of the cores that neither the node, the PACS nor this process used: it belongs to every figure.
        self.foreign_share = 0.0
        self._roles: dict[int, str] = {}
        self._busy_s = self._wall_s = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._busy_s, self._wall_s = _busy_s() - _own_s(), time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._sample()
        foreign = _busy_s() - _own_s() - self._busy_s - sum(used.cpu_s for used in self.usage.values())
        self.foreign_share = max(foreign, 0.0) / (time.monotonic() - self._wall_s) / (psutil.cpu_count() or 1)

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
                if process.status() == psutil.STATUS_ZOMBIE:
                    continue
                rss, cpu = process.memory_info().rss, process.cpu_times()
            except psutil.Error:
                continue
            # A process keeps the role it was first seen in: one that is just ending no longer shows what it was.
            usage = self.usage.setdefault(self._roles.setdefault(process.pid, role), Usage())
            usage.peak_rss = max(usage.peak_rss, rss)
            usage.cpu_by_pid[process.pid] = cpu.user + cpu.system


def _busy_s() -> float:
    """Return the CPU seconds that the machine has been busy since it started."""
    times = psutil.cpu_times()
    return float(sum(times)) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0)


def _own_s() -> float:
    times = psutil.Process().cpu_times()
    return float(times.user + times.system)
