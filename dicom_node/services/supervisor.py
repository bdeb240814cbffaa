"""`dicom-node serve`: the node and its worker in one command, for places without systemd units of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from dicom_node.services import process
from dicom_node.services.signs import Signs

if TYPE_CHECKING:
    from pathlib import Path

log = structlog.get_logger(__name__)

PROGRAMS = ("node", "worker")  # stopped in this order: a worker that loses its node has nothing left to answer
PAGE = "page"
_POLL_S = 0.1
_FIRST_WAIT_S, _LONGEST_WAIT_S, _SETTLED_S = 0.2, 10.0, 30.0
_STOP_S = 45.0


@dataclass
class _Child:
    """One program, its signs of life, and how long to wait before it is started again."""

    program: str
    signs: Signs = field(default_factory=Signs)
    popen: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    wait_s: float = _FIRST_WAIT_S
    restart_at: float = field(default=0.0)


class Supervisor:
    """Keeps node, worker and page running; all end with it, since they watch the pipe it holds.

    One that hangs is killed and started again, as systemd's watchdog does it.
    """

    def __init__(self, config: Path, programs: tuple[str, ...] = PROGRAMS) -> None:
        self._config = config
        self._children = [_Child(program) for program in programs]
        self._stopping = threading.Event()

    def run(self) -> int:
        """Run until SIGTERM or SIGINT, or until a child says that a person must act first; returns the exit status."""
        process.on_stop_signal(self._stopping.set)
        status = process.EXIT_OK
        while not self._stopping.is_set():
            hopeless = [code for child in tuple(self._children) if (code := self._look_after(child)) is not None]
            if hopeless:
                status = hopeless[0]
                break
            self._stopping.wait(_POLL_S)
        for child in self._children:
            self._stop(child)
            child.signs.close()
        return status

    def _look_after(self, child: _Child) -> int | None:
        """Start a child that is due; return the exit status of one that must not be started again."""
        now = time.monotonic()
        if child.popen is None:
            if now >= child.restart_at:
                self._start(child, now)
            return None
        code = child.popen.poll()
        if code is None:
            if now - child.started_at > _SETTLED_S:
                child.wait_s = _FIRST_WAIT_S
            if child.signs.are_missing(now):
                log.error("child.hangs", child=child.program, pid=child.popen.pid)
                child.signs.begin()
                child.popen.kill()
            return None
        child.popen = None
        if child.program == PAGE and code in {process.EXIT_OK, *process.HOPELESS}:
            log.warning("child.gave_up", child=child.program, status=code)  # the node serves without its page
            self._children.remove(child)
            return None
        if code in process.HOPELESS:
            return code
        log.warning("child.ended", child=child.program, status=code, again_in_s=child.wait_s)
        child.restart_at = now + child.wait_s
        child.wait_s = min(child.wait_s * 2, _LONGEST_WAIT_S)
        return None

    def _start(self, child: _Child, now: float) -> None:
        module = f"dicom_node.services.{child.program}"
        command = [sys.executable, "-m", module, "--supervised", "--config", str(self._config)]
        # A heap a thread would grow the node by half its size.
        environment = {"MALLOC_ARENA_MAX": "2", **os.environ, **child.signs.environment()}
        child.signs.begin()
        child.popen = subprocess.Popen(  # noqa: S603 - our own module, no shell
            command, stdin=subprocess.PIPE, env=environment
        )
        child.started_at = now
        log.info("child.started", child=child.program, pid=child.popen.pid)

    def _stop(self, child: _Child) -> None:
        if child.popen is None:
            return
        child.popen.terminate()
        try:
            child.popen.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            log.warning("child.killed", child=child.program, after_s=_STOP_S)
            child.popen.kill()
            child.popen.wait()
