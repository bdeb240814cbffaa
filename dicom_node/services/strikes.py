"""How often in a row an engine has ended the worker: kept in a file, since no code runs when a process is killed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Strikes:
    """The count for one plan since this boot: a reboot may mend what a restart of the worker does not.

    An image is noted before the engine sees it and cleared when the engine has answered. What is still noted when a
    worker starts was never answered: a crash, a hang, a kill for lack of memory.
    """

    file: Path
    plan_sha256: str

    def count(self) -> int:
        """Return how many images in a row the engine has not answered."""
        try:
            noted = json.loads(self.file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return 0
        return int(noted["count"]) if noted.get("of") == self._of() else 0

    def note(self) -> None:
        """Count the image that is about to be run."""
        self.file.write_text(json.dumps({"of": self._of(), "count": self.count() + 1}), encoding="utf-8")

    def clear(self) -> None:
        """Forget what was counted: the engine has answered."""
        self.file.unlink(missing_ok=True)

    def _of(self) -> list[str]:
        boot = _BOOT_ID.read_text(encoding="ascii").strip() if _BOOT_ID.exists() else ""
        return [self.plan_sha256, boot]
