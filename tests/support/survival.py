"""The points at which a walk is killed, failed or cut off: all of them, or a few spread evenly."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tests.support import power, walk
from tests.support.syscalls import CHANGING

T = TypeVar("T")

_ERRORS = {
    "fsync": ("EIO",),
    "fdatasync": ("EIO",),
    "write": ("ENOSPC",),
    "writev": ("ENOSPC", "EIO"),
    "pwrite64": ("ENOSPC", "EIO"),
    "rename": ("ENOSPC",),
    "ftruncate": ("EIO",),
}


@dataclass(frozen=True)
class Point:
    """The number-th system call of a kind, and the error that it gets, if it gets one."""

    call: str
    number: int
    error: str = ""


def kills(counts: Counter[str]) -> list[Point]:
    """Return a point before every system call that changes a file."""
    return [Point(call, n + 1) for call in CHANGING if call not in {"openat", "mkdir"} for n in range(counts[call])]


def failures(counts: Counter[str]) -> list[Point]:
    """Return a point for every system call and error that a full or broken disk may give it."""
    return [Point(call, n + 1, e) for call, errors in _ERRORS.items() for e in errors for n in range(counts[call])]


def some_of_each(points: list[Point], count: int) -> list[Point]:
    """Return so many points of each kind of call, evenly spread."""
    calls = dict.fromkeys(point.call for point in points)
    return [point for call in calls for point in spread([p for p in points if p.call == call], count)]


def spread(points: list[T], count: int) -> list[T]:
    """Return so many of the points, evenly spread."""
    return [points[index * len(points) // count] for index in range(min(count, len(points)))]


def cut_points(recorded: list[power.Call]) -> list[int]:
    """Return the places in a record, as indexes, behind which the power may go.

    Of writes of the ledger in a row only the last: what of them waits for a sync is drawn by chance anyway.
    """
    names = [call.name for call in recorded] + [""]
    return [
        index for index, name in enumerate(names) if name in CHANGING and not (name == names[index + 1] == "pwrite64")
    ]


def problems_after_cut(
    recorded: list[power.Call], at: int, root: Path, target: Path, dice: random.Random | None, disk: type[power.Disk]
) -> list[str]:
    """Return what is lost, doubled or wrong when the power goes behind a call; root: the recorded state folder."""
    played = disk(root)
    for call in recorded[: at + 1]:
        played.play(call)
    played.cut(target, dice)
    return walk.problems(target, played.told)
