"""How often in a row an engine has ended the worker: kept in a file, since no code runs when a process is killed."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Strikes:
    """The count for one set of plans since this boot: a reboot may mend what a restart of the worker does not.

    Loading and every image are noted before the device is touched. Loading is taken back when it has ended, well or
    with an error; an answered image clears everything. What is still noted when a worker starts never ended: a crash, a
    hang, a kill for lack of memory. plans names the plans that are there (`plans.fingerprint`): another starts anew.
    """

    file: Path
    plans: str

    def count(self) -> int:
        """Return how often in a row the engine was asked and never answered."""
        try:
            noted = json.loads(self.file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return 0
        return int(noted["count"]) if noted.get("of") == self._of() else 0

    def note(self) -> None:
        """Count what is about to be done."""
        self._write(self.count() + 1)

    def take_back(self) -> None:
        """Forget the last note, and it alone."""
        self._write(self.count() - 1)

    def clear(self) -> None:
        """Forget what was counted: the engine has answered."""
        with suppress(OSError):
            self.file.unlink(missing_ok=True)

    def _write(self, count: int) -> None:
        if count <= 0:
            self.clear()
            return
        # What cannot be noted is not counted: neither a full disk nor a state folder that the node, starting beside
        # this worker, has yet to make may stop an engine that works.
        with suppress(OSError):
            self.file.write_text(json.dumps({"of": self._of(), "count": count}), encoding="utf-8")

    def _of(self) -> list[str]:
        boot = _BOOT_ID.read_text(encoding="ascii").strip() if _BOOT_ID.exists() else ""
        return [self.plans, boot]
