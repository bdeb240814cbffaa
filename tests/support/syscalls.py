"""A walk whose system calls strace watches or disturbs: a SIGKILL or an error at the N-th of a kind, or a record."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import re
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

#: What changes a file system, and so makes a difference between before and after.
CHANGING = (
    "openat",
    "mkdir",
    "write",
    "writev",
    "pwrite64",
    "ftruncate",
    "fsync",
    "fdatasync",
    "rename",
    "unlink",
    "rmdir",
)
_PRELOAD = ["tests.support.walk"]


def is_installed() -> bool:
    """Tell whether strace is here and may attach."""
    return shutil.which("strace") is not None


@dataclass(frozen=True)
class Run:
    """How a walk ended: its exit code (negative: the signal) and what the outside was told."""

    code: int
    told: list[str]


def walk_killed_at(state: Path, call: str, number: int) -> Run:
    """Run a walk that gets SIGKILL instead of its `number`-th system call of a kind."""
    inject = f"inject={call}:signal=KILL:when={number}"
    return _walk(state, ["-o", os.devnull, "-e", f"trace={call}", "-e", inject])


def walk_failing_at(state: Path, call: str, number: int, error: str) -> Run:
    """Run a walk whose `number`-th system call of a kind fails with an error such as EIO."""
    return _walk(state, ["-o", os.devnull, "-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={number}"])


def walk_recorded(state: Path, record: Path) -> Run:
    """Run a whole walk and write down every system call that changes a file, with its data."""
    calls = ",".join((*CHANGING, "close", "openat"))
    return _walk(state, ["-xx", "-s", "1000000", "-o", str(record), "-e", f"trace={calls}"])


def count_calls(record: Path) -> Counter[str]:
    """Return how often each kind of call is in a record."""
    return Counter(match.group(1) for match in re.finditer(r"^(?:\d+ +)?(\w+)\(", record.read_text(), re.MULTILINE))


def _walk(state: Path, options: list[str]) -> Run:
    with _waiting_child(state) as (process, gate, told):
        assert process.pid is not None
        line = ["strace", "-f", "-p", str(process.pid), *options]
        with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as tracer:
            assert tracer.stderr is not None
            attached = tracer.stderr.readline()
            assert "attached" in attached, attached
            os.write(gate, b"g")
            process.join(120)
            if process.exitcode is None:
                process.kill()
                process.join()
            tracer.send_signal(signal.SIGTERM)
            tracer.stderr.read()
        with os.fdopen(os.dup(told)) as stream:
            lines = stream.read().splitlines()
        return Run(process.exitcode or 0, lines)


@contextmanager
def _waiting_child(state: Path) -> Iterator[tuple[multiprocessing.process.BaseProcess, int, int]]:
    """Start the walk in a process that has everything imported and waits at its gate; closes what it opened."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOAD)
    gate_read, gate = os.pipe()
    told, told_write = os.pipe()
    connections = [multiprocessing.connection.Connection(fd) for fd in (gate_read, told_write)]
    process = context.Process(target=_child, args=(str(state), *connections), daemon=True)
    process.start()
    for connection in connections:
        connection.close()
    try:
        yield process, gate, told
    finally:
        os.close(gate)
        os.close(told)


def _child(state: str, gate: object, told: object) -> None:
    from tests.support.walk import child  # noqa: PLC0415 - imported in the fork server already

    child(state, gate.fileno(), told.fileno())  # type: ignore[attr-defined]
