"""Log events: JSON for machines, words for terminals, UIDs always, a patient's name never."""

from __future__ import annotations

import logging
import sys
import threading
import traceback
import warnings
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from dicom_node.settings import LogSettings


def configure(settings: LogSettings, program: str) -> None:
    """Set up this process's log on standard error.

    Other libraries' logs and warnings are switched off: pydicom and pynetdicom quote attribute values in theirs.
    """
    logging.basicConfig(handlers=[logging.NullHandler()], force=True)
    warnings.simplefilter("ignore")
    readable = settings.format == "console" or (settings.format == "auto" and sys.stderr.isatty())
    renderer: Any = structlog.dev.ConsoleRenderer(sort_keys=False) if readable else structlog.processors.JSONRenderer()
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
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    # Uncaught errors too must be told without their texts, whichever library's thread they end.
    uncaught = structlog.get_logger(__name__)
    sys.excepthook = lambda _kind, error, _trace: uncaught.critical("program.failed", exc_info=error)
    threading.excepthook = lambda args: uncaught.error("thread.failed", exc_info=args.exc_value)


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
