"""CPU time and peak memory of everything that a benchmark started, by what each process is, sampled while it runs."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import psutil

from tests.support.node import ROLES, role_of
from tests.support.usage import Usage

if TYPE_CHECKING:
    from typing_extensions import Self

_EVERY_S = 0.25
_LEAST_CPU_S = 0.05  # what used less was hardly there when it was looked at
_INTERPRETERS = ("python", "sh", "bash")


class Tree:
    """Watches the processes below one; those that live for less than a quarter of a second may be missed."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self._names: dict[int, str] = {}
        self._usage: dict[str, Usage] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def used(self) -> dict[str, dict[str, float]]:
        """Return CPU seconds of all processes of a kind together, and the peak memory of the largest, in MB."""
        return {
            name: {"cpu_s": round(usage.cpu_s, 2), "peak_mb": round(usage.peak_rss / 1e6, 1)}
            for name, usage in sorted(self._usage.items())
            if usage.cpu_s >= _LEAST_CPU_S
        }

    def _run(self) -> None:
        while not self._stop.wait(_EVERY_S):
            try:
                below = self._root.children(recursive=True)
            except psutil.Error:
                continue
            for process in below:
                self._sample(process)

    def _sample(self, process: psutil.Process) -> None:
        try:
            rss, cpu = process.memory_info().rss, process.cpu_times()
            name = self._names.setdefault(process.pid, _name(process))
        except psutil.Error:
            return
        usage = self._usage.setdefault(name, Usage())
        usage.peak_rss = max(usage.peak_rss, rss)
        usage.cpu_by_pid[process.pid] = cpu.user + cpu.system


def _name(process: psutil.Process) -> str:
    """Return what a process is: its role in a node, its program, or the module that Python was told to run."""
    role = role_of(process)
    if role.removesuffix("-helper") in ROLES.values():
        return role
    line, program = process.cmdline(), process.name()
    if program.startswith(_INTERPRETERS) and "-m" in line[:-1]:
        return line[line.index("-m") + 1].removeprefix("tests.benchmarks.")
    return program
