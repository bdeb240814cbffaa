"""A power cut, played from a record of system calls: what was not synced when it came is gone, or torn.

The model knows nothing of a journal's kindness. A file's bytes last from the sync of that file on, a name in a folder
from the sync of that folder on. What waits for a sync at the cut is dropped (strict), or survives by chance, a prefix
of each folder's changes and any of a file's writes, whole or torn at a sector (lenient). One thing is promised, as by
every file system with a journal: a rename from one folder to another is one change. It is lost or survives in both.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_CALL = re.compile(r"^(?:\d+ +)?(\w+)\((.*)\) += (-?\d+)")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_SECTOR = 512


@dataclass(frozen=True)
class Call:
    """One system call that succeeded: its name, its arguments as strace writes them, and what it returned."""

    name: str
    arguments: str
    result: int

    def texts(self) -> list[bytes]:
        """Return the strings among the arguments."""
        return [bytes.fromhex(text.replace("\\x", "")) for text in _TEXT.findall(self.arguments)]

    def numbers(self) -> list[int]:
        """Return the plain numbers behind the last string."""
        return [int(number) for number in re.findall(r"-?\b\d+\b", self.arguments.rpartition('"')[2])]

    @property
    def descriptor(self) -> int:
        """The file descriptor that it is about."""
        return int(re.match(r"\d+", self.arguments).group())  # type: ignore[union-attr]


@dataclass(eq=False)
class File:
    """A file: what is safe on the disk, and the writes (offset, bytes; None: a new length) that wait for a sync."""

    safe: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)
    length: int = 0

    def sync(self) -> None:
        """Make every write safe."""
        for write in self.pending:
            _apply(self.safe, write)
        self.pending.clear()


@dataclass(eq=False)
class Change:
    """A change of names that happens as a whole: (folder, name, what it names; None: removed)."""

    parts: list[tuple[Folder, str, File | Folder | None]]

    def make(self) -> None:
        """Do it, and let it wait for a sync."""
        for folder, name, what in self.parts:
            _rename(folder.now, name, what)
            folder.pending.append(self)

    def commit(self) -> None:
        """Make it safe, after all that came before it in its folders."""
        for folder, _, _ in self.parts:
            while self in folder.pending and folder.pending[0] is not self:
                folder.pending[0].commit()
        for folder, name, what in self.parts:
            if self in folder.pending:
                folder.pending.remove(self)
                _rename(folder.safe, name, what)


@dataclass(eq=False)
class Folder:
    """A folder: the names that are safe, and the changes that wait for a sync."""

    safe: dict[str, File | Folder] = field(default_factory=dict)
    now: dict[str, File | Folder] = field(default_factory=dict)
    pending: list[Change] = field(default_factory=list)

    def change(self, name: str, what: File | Folder | None) -> None:
        """Give or take a name."""
        Change([(self, name, what)]).make()

    def sync(self) -> None:
        """Make every name safe."""
        while self.pending:
            self.pending[0].commit()


class Disk:
    """The state folder of a recorded walk as its system calls change it."""

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self.top = Folder()
        self.told: list[str] = []
        self._open: dict[int, tuple[File | Folder, int]] = {}

    def play(self, call: Call) -> None:
        """Do one call."""
        handler = getattr(self, f"_{call.name}", None)
        if handler is not None and call.result >= 0:
            handler(call)

    def _openat(self, call: Call) -> None:
        self._open.pop(call.result, None)
        path = os.fsdecode(call.texts()[0])
        if path == self._root:
            self._open[call.result] = (self.top, 0)
            return
        if not path.startswith(f"{self._root}/"):
            return
        folder, name = self._place(path)
        if name not in folder.now and "O_CREAT" in call.arguments:
            folder.change(name, File())
        found = folder.now[name]
        if "O_TRUNC" in call.arguments and isinstance(found, File):
            found.pending.append((0, None))
            found.length = 0
        self._open[call.result] = (found, 0)

    def _close(self, call: Call) -> None:
        self._open.pop(call.descriptor, None)

    def _mkdir(self, call: Call) -> None:
        path = os.fsdecode(call.texts()[0])
        if path.startswith(f"{self._root}/"):
            folder, name = self._place(path)
            folder.change(name, Folder())

    def _write(self, call: Call) -> None:
        if call.descriptor not in self._open:
            self.told += [
                line for line in b"".join(call.texts()).decode("utf-8", "replace").splitlines() if _is_told(line)
            ]
            return
        what, position = self._open[call.descriptor]
        data = b"".join(call.texts())[: call.result]
        self._put(what, position, data)
        self._open[call.descriptor] = (what, position + len(data))

    _writev = _write

    def _pwrite64(self, call: Call) -> None:
        if call.descriptor in self._open:
            self._put(self._open[call.descriptor][0], call.numbers()[-1], b"".join(call.texts())[: call.result])

    def _put(self, what: File | Folder, offset: int, data: bytes) -> None:
        assert isinstance(what, File)
        what.pending.append((offset, data))
        what.length = max(what.length, offset + len(data))

    def _ftruncate(self, call: Call) -> None:
        if call.descriptor in self._open:
            what, _ = self._open[call.descriptor]
            assert isinstance(what, File)
            what.length = int(call.arguments.split(",")[1])
            what.pending.append((what.length, None))

    def _fsync(self, call: Call) -> None:
        if call.descriptor in self._open:
            self._open[call.descriptor][0].sync()

    _fdatasync = _fsync

    def _rename(self, call: Call) -> None:
        source, target = (os.fsdecode(text) for text in call.texts())
        if source.startswith(f"{self._root}/"):
            (before, name), (after, new) = self._place(source), self._place(target)
            what = before.now[name]
            if after is before:
                after.change(new, what)
                before.change(name, None)
            else:
                Change([(after, new, what), (before, name, None)]).make()

    def _unlink(self, call: Call) -> None:
        path = os.fsdecode(call.texts()[0])
        if path.startswith(f"{self._root}/"):
            folder, name = self._place(path)
            folder.change(name, None)

    _rmdir = _unlink

    def _place(self, path: str) -> tuple[Folder, str]:
        *parents, name = path[len(self._root) + 1 :].split("/")
        folder = self.top
        for parent in parents:
            found = folder.now[parent]
            assert isinstance(found, Folder)
            folder = found
        return folder, name

    def cut(self, target: Path, dice: random.Random | None) -> None:
        """Write what the disk holds after a power cut now; dice: lenient, what waits may survive by chance.

        The disk itself is then what is left of it.
        """
        if dice is not None:
            _survive(self.top, dice)
        _write_folder(self.top, target, dice)


def calls(record: Path) -> Iterator[Call]:
    """Yield the calls of a record that succeeded."""
    with record.open(encoding="ascii") as lines:
        for line in lines:
            match = _CALL.match(line)
            if match:
                yield Call(match.group(1), match.group(2), int(match.group(3)))


def _is_told(line: str) -> bool:
    return line.startswith(("acknowledged ", "delivered "))


def _rename(names: dict[str, File | Folder], name: str, what: File | Folder | None) -> None:
    if what is None:
        names.pop(name, None)
    else:
        names[name] = what


def _apply(content: bytearray, write: tuple[int, bytes | None]) -> None:
    offset, data = write
    if data is None:
        del content[offset:]
        content.extend(bytes(offset - len(content)))
        return
    content.extend(bytes(max(offset - len(content), 0)))
    content[offset : offset + len(data)] = data


def _survive(folder: Folder, dice: random.Random) -> None:
    """Let some of the first changes that wait in each folder be safe."""
    for _ in range(dice.randint(0, len(folder.pending))):
        if folder.pending:  # what another folder shares with this one may be safe already
            folder.pending[0].commit()
    for what in list(folder.safe.values()):
        if isinstance(what, Folder):
            _survive(what, dice)


def _write_folder(folder: Folder, target: Path, dice: random.Random | None) -> None:
    target.mkdir(mode=0o700)
    for name, what in folder.safe.items():
        if isinstance(what, Folder):
            _write_folder(what, target / name, dice)
        else:
            (target / name).write_bytes(_content(what, dice))


def _content(file: File, dice: random.Random | None) -> bytes:
    content = bytearray(file.safe)
    for write in file.pending if dice is not None else ():
        assert dice is not None
        chance = dice.random()
        if chance < 0.5:
            _apply(content, write)
        elif chance < 0.75 and write[1] is not None:
            torn = write[1][: dice.randint(0, len(write[1]) // _SECTOR) * _SECTOR]
            _apply(content, (write[0], torn))
    return bytes(content)
