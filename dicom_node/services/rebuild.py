"""Builds a plan anew where none fits this device: beside the worker, in a process whose failure costs nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from pathlib import Path

    from dicom_node.services.strikes import Strikes

log = structlog.get_logger(__name__)

# Images come first: the build takes what they leave of the processor.
_NICENESS: Final = 10
_STOP_S: Final = 10.0


class Rebuild:
    """`dicom-node engine build` for a bundle, with what it says in a file.

    tried counts builds as it counts images: one that failed, or that nobody saw end, is not tried again for the same
    plans before the next boot. Whoever stops the worker stops the build, and it is tried again.
    """

    def __init__(self, bundle: Path, output: Path, tried: Strikes) -> None:
        self._output = output
        self._tried = tried
        self._tried.note()
        command = [sys.executable, "-m", "dicom_node.cli.main", "engine", "build", str(bundle)]
        with output.open("wb") as stream:
            self._build: subprocess.Popen[bytes] | None = subprocess.Popen(  # noqa: S603 - our own module, no shell
                command, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT
            )
        os.setpriority(os.PRIO_PROCESS, self._build.pid, _NICENESS)

    def succeeded(self) -> bool:
        """Tell, once, that the build has ended with a plan that was accepted; a failure is said in the log, once."""
        status = self._build.poll() if self._build is not None else None
        if status is None:
            return False
        self._build = None
        if status == 0:
            self._tried.clear()
            log.info("engine.rebuilt", said=self._last_line())
            return True
        log.error("engine.rebuild_failed", status=status, said=self._last_line(), all_of_it=str(self._output))
        return False

    def stop(self) -> None:
        """End a build that is under way."""
        if self._build is None:
            return
        self._build.terminate()
        try:
            self._build.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._build.kill()
            self._build.wait()
        self._build = None
        self._tried.take_back()

    def _last_line(self) -> str:
        lines = self._output.read_text(encoding="utf-8", errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


def start(bundle: Path, output: Path, tried: Strikes, reason: str) -> Rebuild | None:
    """Start a build, saying why; None, said too, where it was tried since this machine was started."""
    if tried.count():
        log.warning("engine.not_rebuilt", reason="it was tried since this machine was started", output=str(output))
        return None
    try:
        build = Rebuild(bundle, output, tried)
    except OSError as error:
        tried.take_back()
        log.error("engine.rebuild_failed", said=error.strerror)  # noqa: TRY400 - said in one line
        return None
    log.warning("engine.rebuild", reason=reason, output=str(output))
    return build
