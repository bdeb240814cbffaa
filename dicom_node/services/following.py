"""How the status page follows the node: what a reload made valid there becomes valid here too."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import structlog

from dicom_node import settings as configuration
from dicom_node.core.errors import SettingsError
from dicom_node.ledger.spool import StateFolders

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dicom_node.settings import Settings

log = structlog.get_logger(__name__)

_LOOK_S = 2.0


class Following:
    """Looks whether the node has read its configuration again, and holds the settings that are in force."""

    def __init__(self, settings: Settings, config: Path, usable: Callable[[Settings], object]) -> None:
        self.settings = settings
        self._config = config
        self._usable = usable
        self._marker = StateFolders(settings.node.state_dir).reloaded
        self._seen = self._mark()

    def look(self) -> bool:
        """Take over what the node took over; true where there was something. What cannot be used here is told."""
        mark = self._mark()
        if mark == self._seen:
            return False
        self._seen = mark
        try:
            wanted = configuration.load(self._config)
            self._usable(wanted)
        except SettingsError as error:
            log.error("reload.refused", reason=str(error))  # noqa: TRY400 - said in one line
            return False
        self.settings = wanted
        return True

    def watch(self, on_change: Callable[[], None], over: threading.Event) -> None:
        """Call on_change once there is something new, in a thread that ends with that, or when it is over."""

        def wait() -> None:
            while not over.wait(_LOOK_S):
                if self.look():
                    on_change()
                    break

        threading.Thread(target=wait, name="following", daemon=True).start()

    def _mark(self) -> int:
        """Return when the node last read its configuration again: nanoseconds, 0 where it never did."""
        try:
            return self._marker.stat().st_mtime_ns
        except OSError:
            return 0
