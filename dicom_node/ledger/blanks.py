"""Empty files whose names are on the disk already: what is received into one needs a single flush."""

from __future__ import annotations

import os
import secrets
import threading
from collections import deque
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING

from dicom_node.ledger.spool import fsync_folder
from dicom_node.ledger.spool_file import SpoolFile, create

if TYPE_CHECKING:
    from pathlib import Path

_READY = 64


class Blanks:
    """A stock of empty files in the folder of what arrives; `fill` makes up what was taken, in a thread of its own.

    One sync of the folder makes the names of a whole batch durable. Nobody waits for it: where none is ready, a new
    file is made, and publishing it takes the sync that a blank saves.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._run = secrets.token_hex(4)  # a name that an earlier run used may come back after a power cut
        self._serial = count()
        self._ready: deque[Path] = deque()
        self._wanted = threading.Event()

    def take(self, head: bytes) -> SpoolFile:
        """Begin a file with these bytes. Raises OSError."""
        try:
            blank = self._ready.popleft()
        except IndexError:
            blank = None
        if len(self._ready) < _READY // 2:
            self.stir()
        if blank is not None:
            with suppress(FileNotFoundError):  # somebody tidied up
                return SpoolFile(blank, head, has_lasting_name=True)
        return SpoolFile(self._next(), head)

    def wait(self, timeout_s: float) -> None:
        """Wait until half of the stock is used up or somebody stirs, timeout_s seconds at most."""
        self._wanted.wait(timeout_s)

    def stir(self) -> None:
        """Wake who waits."""
        self._wanted.set()

    def fill(self, wanted: int = _READY) -> None:
        """Make up the stock. Raises OSError, where the disk is full for one; what could be made is ready all the same.

        For one thread alone.
        """
        self._wanted.clear()
        made: list[Path] = []
        try:
            while len(self._ready) + len(made) < wanted:
                name = self._next()
                os.close(create(name))
                made.append(name)
        finally:
            self._add(made)

    def clear(self) -> None:
        """Remove what is left of the stock. Never raises."""
        while self._ready:
            with suppress(OSError, IndexError):
                self._ready.popleft().unlink()

    def _add(self, made: list[Path]) -> None:
        try:
            if made:
                fsync_folder(self._folder)
        except OSError:
            for name in made:
                with suppress(OSError):
                    name.unlink()
            raise
        self._ready.extend(made)

    def _next(self) -> Path:
        return self._folder / f"{self._run}-{next(self._serial)}"
