"""What every program of ours does at its start: settings, log, signals, and ending when its supervisor is gone."""

from __future__ import annotations

import argparse
import os
import resource
import signal
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from dicom_node import settings as configuration
from dicom_node.core.errors import SettingsError
from dicom_node.services import logs

if TYPE_CHECKING:
    from collections.abc import Callable

    from dicom_node.settings import Settings

EXIT_OK, EXIT_FAILED, EXIT_SETTINGS, EXIT_LEDGER = 0, 1, 2, 3
#: With these a restart changes nothing: a person must act first.
HOPELESS = frozenset({EXIT_SETTINGS, EXIT_LEDGER})


@dataclass(frozen=True, slots=True)
class Start:
    """What a program starts with: its settings, and the file they came from, to be read again."""

    settings: Settings
    config: Path


def begin(program: str, argv: list[str] | None = None) -> Start:
    """Read --config, set up the log and, under a supervisor, watch for its end. Exits with 2 on bad settings."""
    parser = argparse.ArgumentParser(prog=f"python -m dicom_node.services.{program}")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--supervised", action="store_true", help="end when standard input is closed")
    arguments = parser.parse_args(argv)
    try:
        settings = configuration.load(arguments.config)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(EXIT_SETTINGS)
    os.umask(0o077)
    _leave_no_core()
    logs.configure(settings.log, program)
    if arguments.supervised:
        threading.Thread(target=_end_with_supervisor, name="supervisor-watch", daemon=True).start()
    return Start(settings, arguments.config)


def _leave_no_core() -> None:
    """Let no crash, ours or a child's, write memory into a file: it holds what was received of patients.

    The limit is for files; a program that the kernel hands cores to (systemd-coredump, apport) is not bound by it,
    but gets no memory either.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):  # no such file in some containers
        Path("/proc/self/coredump_filter").write_text("0", encoding="ascii")


def _end_with_supervisor() -> None:
    """Block until the supervisor's end of the pipe is closed, which a SIGKILL does too; then ask ourselves to stop."""
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def on_stop_signal(action: Callable[[], None]) -> None:
    """Call action, in the main thread, on SIGTERM and SIGINT."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: action())


def on_reload_signal(action: Callable[[], None]) -> None:
    """Call action, in the main thread, on SIGHUP."""
    signal.signal(signal.SIGHUP, lambda _number, _frame: action())


def end(status: int) -> NoReturn:
    """End this process now, whatever threads are left: a peer that stalls must not keep a stopped node alive."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
