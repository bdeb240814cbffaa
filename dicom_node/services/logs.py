"""Log events: fields for the journal, JSON for machines, words for terminals, UIDs always, a patient's name never."""

from __future__ import annotations

import json
import logging
import select
import sys
import threading
import traceback
import warnings
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TextIO, cast

import structlog

from dicom_node.services.journal import Journal, is_journal

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from dicom_node.settings import LogSettings

_PIECE = 1000  # characters: at most 4000 bytes, less than PIPE_BUF
_PATIENCE_MS = 200


def configure(settings: LogSettings, program: str) -> None:
    """Set up this process's log on standard error, or to the journal where that is what standard error is.

    Other libraries' logs and warnings are switched off: pydicom and pynetdicom quote attribute values in theirs.
    """
    logging.basicConfig(handlers=[logging.NullHandler()], force=True)
    warnings.simplefilter("ignore")
    readable = settings.format == "console" or (settings.format == "auto" and sys.stderr.isatty())
    renderer: Any = structlog.dev.ConsoleRenderer(sort_keys=False) if readable else structlog.processors.JSONRenderer()
    factory: Any = structlog.WriteLoggerFactory(file=cast("TextIO", Unblocked(sys.stderr)))
    if settings.format == "auto" and is_journal():
        renderer, factory = _as_fields, partial(_the_one, Journal())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            _Named(program),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _without_values,
            _without_empty,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(settings.level),
        logger_factory=factory,
        cache_logger_on_first_use=True,
    )
    # Uncaught errors too must be told without their texts, whichever library's thread they end.
    uncaught = structlog.get_logger(__name__)
    sys.excepthook = lambda _kind, error, _trace: uncaught.critical("program.failed", exc_info=error)
    threading.excepthook = lambda args: uncaught.error("thread.failed", exc_info=args.exc_value)


def _the_one(journal: Journal, *_names: object) -> Journal:
    return journal


def _as_fields(_logger: object, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Hand an event's keys to the journal as they are."""
    return event


class Unblocked:
    """A file of which nobody waits: what its reader does not take is left out, and how much that was is told later.

    A log that nobody reads (journald stopped, a full pipe) must not keep an image from being received.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._waits = False
        self._poll = select.poll()
        with suppress(OSError):  # a file in memory takes all
            self._poll.register(file.fileno(), select.POLLOUT)
            self._waits = True
        self._lock = threading.Lock()
        self._lost = 0
        self._cut = ""

    def write(self, text: str) -> int:
        """Write a line, or as much of it as is taken, and count it as lost."""
        with self._lock:
            if self._lost and self._takes(0):
                told = {"event": "log.lost", "level": "warning", "lines": self._lost}
                self._piece(f"{self._cut}{json.dumps(told)}\n")
                self._lost, self._cut = 0, ""
            for start in range(0, len(text), _PIECE):
                if self._lost or not self._takes(_PATIENCE_MS):
                    self._lost += 1
                    self._cut = "\n" if start else self._cut  # a line that was begun is ended first
                    break
                self._piece(text[start : start + _PIECE])
        return len(text)

    def _piece(self, text: str) -> None:
        """Write what a pipe takes without waiting once it can be written at all: up to PIPE_BUF, 4096 bytes."""
        self._file.write(text)
        self._file.flush()

    def _takes(self, patience_ms: int) -> bool:
        return not self._waits or bool(self._poll.poll(patience_ms))

    def flush(self) -> None:
        """Do nothing: every line is written at once."""


class _Named:
    """Adds the program's name to every event, whichever thread it comes from."""

    def __init__(self, program: str) -> None:
        self._program = program

    def __call__(self, _logger: object, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        return {"program": self._program, **event}


def _without_values(_logger: object, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace an exception by its type and its places in the code: its text may quote a received data set."""
    info = event.pop("exc_info", None)
    error = sys.exc_info()[1] if info is True else info
    if isinstance(error, BaseException):
        event["error"] = type(error).__name__
        frames = traceback.extract_tb(error.__traceback__)
        event["at"] = [f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames]
    return event


def _without_empty(_logger: object, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {key: value for key, value in event.items() if value is not None}
