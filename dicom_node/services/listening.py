"""Taking connections, where the system may have no descriptor left for them; what only asks need not import a log."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    import socket

log = structlog.get_logger(__name__)

_AGAIN_S = 0.5


def accept(listener: socket.socket) -> socket.socket | None:
    """Return the next connection; None where none came in time, or it cannot be taken now: then it waits."""
    try:
        return listener.accept()[0]
    except TimeoutError:
        return None
    except OSError as error:  # no descriptor or no memory is left
        log.error("connection.waits", cause=str(error))  # noqa: TRY400 - said in one line
        time.sleep(_AGAIN_S)
        return None
