"""A file of the spool while it is received: written as the bytes come, durable before anyone is told."""

from __future__ import annotations

import ctypes
import mmap
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from dicom_node.ledger.spool import fsync_folder, make_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

_WRITE_BACK = 1 << 20
_START_WRITE_BACK = 2  # SYNC_FILE_RANGE_WRITE
_libc = ctypes.CDLL(None, use_errno=True)


def create(name: Path) -> int:
    """Make a new file and return its descriptor. Raises OSError."""
    return os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)


class SpoolFile:
    """A file under a temporary name; `publish` gives it its own, `discard` removes it. Every method raises OSError.

    has_lasting_name: the temporary name is there already, an empty file, and survives a power cut.
    """

    def __init__(self, temporary: Path, head: bytes, *, has_lasting_name: bool = False) -> None:
        self._path = temporary
        self._has_lasting_name = has_lasting_name
        self._descriptor = os.open(temporary, os.O_RDWR | os.O_CLOEXEC) if has_lasting_name else create(temporary)
        self._head = len(head)
        self._unwritten = [memoryview(head)]  # with the first pieces, in one call
        self._written = self._sent_back = 0

    @property
    def size(self) -> int:
        """The bytes behind the head."""
        return max(self._written - self._head, 0)

    def write(self, pieces: Sequence[memoryview]) -> None:
        """Append pieces, and let the kernel begin to write them out: the sync at the end then finds little left."""
        if self._unwritten:
            pieces, self._unwritten = [*self._unwritten, *pieces], []
        wanted = sum(map(len, pieces))
        done = os.writev(self._descriptor, pieces)
        if done < wanted:  # a full disk or a signal; what is left raises where it cannot be written
            rest = memoryview(b"".join(pieces))[done:]
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        self._written += wanted
        if self._written - self._sent_back >= _WRITE_BACK:
            self._begin_write_back()

    def content(self) -> memoryview:
        """Return the bytes behind the head, mapped and not read: only what is looked at costs memory."""
        if not self.size:
            return memoryview(b"")
        return memoryview(mmap.mmap(self._descriptor, self._written, prot=mmap.PROT_READ))[self._head :]

    def publish(self, target: str | Path) -> None:
        """Give the file its final name so that after a power cut it is there whole or not at all.

        sync > rename > sync of the folder. A lasting name needs no other: after a power cut the file bears the one or
        the other, and the start moves it home. The caller discards it where this raises.
        """
        os.fdatasync(self._descriptor)
        try:
            os.rename(self._path, target)  # noqa: PTH104 - for each instance
        except FileNotFoundError:  # the first file of this folder
            make_folder(Path(target).parent)
            self._path.rename(target)
        if not self._has_lasting_name:
            fsync_folder(Path(target).parent)
        self._close()

    def discard(self) -> None:
        """Remove the file; what is published stays. Never raises."""
        if self._descriptor >= 0:
            with suppress(OSError):
                self._path.unlink()
            self._close()

    def _begin_write_back(self) -> None:
        offset, count = ctypes.c_int64(self._sent_back), ctypes.c_int64(self._written - self._sent_back)
        # A hint: where the file system does not know it (ESPIPE, EINVAL), the sync does all the work.
        _libc.sync_file_range(self._descriptor, offset, count, _START_WRITE_BACK)
        self._sent_back = self._written

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        with suppress(OSError):  # synced already, or thrown away
            os.close(descriptor)
