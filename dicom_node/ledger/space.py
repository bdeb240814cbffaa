"""Room on the disk: two watermarks, a reserve file for the ledger, and what is known of a disk that failed."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dicom_node.core.errors import LedgerUnavailable
from dicom_node.ledger.spool import free_bytes, fsync_folder

if TYPE_CHECKING:
    from dicom_node.ledger.spool import StateFolders

#: Errors that say something about the device or its file system, and not about one file.
_DEVICE = frozenset((errno.EIO, errno.EROFS, errno.ENODEV, errno.ENXIO, errno.ESTALE, errno.EUCLEAN))


@dataclass(frozen=True, slots=True)
class Watermarks:
    """Free space in bytes: below soft no new association, below hard no instance; reserve: the size of the file."""

    hard: int
    soft: int
    reserve: int


class Space:
    """Says whether there is room; gives the ledger its reserve when the disk is full and takes it back afterwards."""

    def __init__(self, folders: StateFolders, marks: Watermarks) -> None:
        self._folders = folders
        self._marks = marks
        self._failure = ""

    def apply(self, marks: Watermarks) -> None:
        """Go by these watermarks from now on."""
        self._marks = marks

    @property
    def problem(self) -> str:
        """What keeps the node from receiving, in words; empty where nothing does."""
        if self._failure:
            return self._failure
        try:
            free = free_bytes(self._folders.root)
        except OSError as error:
            return f"storage failed ({error.strerror})"
        if free < self._marks.soft:
            return f"only {free >> 20} MiB are free for the state folder"
        return ""

    def accepting(self) -> bool:
        """Tell whether a new association may be accepted; what is open may go on until the hard watermark."""
        return not self.problem

    def has_failed(self) -> bool:
        """Tell whether the storage failed and has not been seen to work since."""
        return bool(self._failure)

    def note_failure(self, error: BaseException | None) -> bool:
        """Take note of an error of the disk; true where it is one. Nothing is received until a new file can be synced.

        A sync that failed is never repeated on the same file: the kernel may have dropped what it could not write, and
        would then report success.
        """
        if isinstance(error, LedgerUnavailable) and "disk I/O error" in str(error.__cause__):
            self._failure = "storage failed (the ledger's file)"
        elif isinstance(error, OSError) and error.errno in _DEVICE:
            self._failure = f"storage failed ({errno.errorcode[error.errno]})"
        else:
            return False
        return True

    def tend(self) -> str:
        """Do what is due: free or remake the reserve, try a failed disk again; returns what was done, in a word."""
        try:
            return self._tend()
        except OSError as error:
            self.note_failure(error)
            return ""

    def _tend(self) -> str:
        if self._failure:
            if not self._works():
                return ""
            self._failure = ""
            return "recovered"
        free, there = free_bytes(self._folders.root), self._folders.reserve.exists()
        if there and free < self._marks.reserve:
            self.release()
            return "released"
        if not there and free > self._marks.hard + 2 * self._marks.reserve:
            with suppress(OSError):
                self._preallocate()
                return "reserved"
        return ""

    def release(self) -> None:
        """Give the reserve file's room to the ledger, which can then finish what it has begun."""
        self._folders.reserve.unlink(missing_ok=True)

    def _preallocate(self) -> None:
        if not self._marks.reserve:
            return
        descriptor = os.open(self._folders.reserve, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, self._marks.reserve)
        except OSError:
            self.release()
            raise
        finally:
            os.close(descriptor)

    def _works(self) -> bool:
        """Write, sync and read back a file that was never there before."""
        probe = self._folders.incoming / f"probe-{os.getpid()}"
        content = os.urandom(4096)
        try:
            with probe.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            fsync_folder(self._folders.incoming)
            return probe.read_bytes() == content
        except OSError:
            return False
        finally:
            with suppress(OSError):
                probe.unlink(missing_ok=True)
