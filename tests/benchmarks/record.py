"""One benchmark's answer as kept JSON: figures beside goals and peers, curves, processes, and the machine.

A figure is the median of its rounds with the lowest and the highest of them. Everything in one record was measured in
one run; figures of two records are never compared. What is left out of a file that somebody reads is empty, not wrong.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psutil

AT_MOST, AT_LEAST = "at most", "at least"


@dataclass(frozen=True)
class Peer:
    """What somebody else's program reached in the same rounds, in the figure's unit; goal: what multiple is wanted."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    goal: float | None = None

    @classmethod
    def of(cls, name: str, values: Iterable[float], goal: float | None = None) -> Peer:
        """Return the median of a peer's rounds."""
        known = list(values)
        return cls(name, statistics.median(known), min(known), max(known), goal)


@dataclass(frozen=True)
class Figure:
    """One figure: the median of n rounds, the lowest and highest of them, what it is to reach, a peer beside it."""

    name: str
    unit: str
    value: float
    low: float
    high: float
    n: int
    goal: float | None = None
    goal_is: str = AT_MOST
    peer: Peer | None = None

    @classmethod
    def of(
        cls,
        name: str,
        unit: str,
        values: Iterable[float],
        goal: tuple[str, float | None] | None = None,
        peer: Peer | None = None,
    ) -> Figure:
        """Return the median of the rounds; goal: AT_MOST or AT_LEAST, and how much, unless only beside the peer."""
        known = list(values)
        is_, number = goal or (AT_MOST, None)
        return cls(name, unit, statistics.median(known), min(known), max(known), len(known), number, is_, peer)

    @property
    def reached(self) -> bool | None:
        """Whether every goal is reached, the absolute and the one beside the peer; None where there is none."""
        bounds = [self.goal] if self.goal is not None else []
        if self.peer is not None and self.peer.goal is not None:
            bounds.append(self.peer.goal * self.peer.value)
        if not bounds:
            return None
        return all(self.value >= bound if self.goal_is == AT_LEAST else self.value <= bound for bound in bounds)


@dataclass(frozen=True)
class Curve:
    """A figure over sizes (drawn as lines) or names (drawn as bars): lines by name, each with one y a x."""

    x: Sequence[float] | Sequence[str]
    lines: Mapping[str, Sequence[float]]
    x_label: str = ""
    y_label: str = ""


@dataclass(frozen=True)
class Record:
    """Everything that one run of one benchmark found.

    processes: CPU seconds (cpu_s) and peak memory (peak_mb) by process; method: how it was measured, in words.
    """

    bench: str
    machine: Mapping[str, Any]
    seed: int
    rounds: int
    figures: Sequence[Figure]
    curves: Mapping[str, Curve] = field(default_factory=dict)
    processes: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    method: str = ""
    problems: Sequence[str] = ()

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")


def read(path: Path) -> Record:
    """Read what `write` wrote, or what has at least `bench` and `figures`, of which each has a name and a value."""
    return from_json(json.loads(path.read_text(encoding="utf-8")))


def from_json(found: Mapping[str, Any]) -> Record:
    """Return the record that these JSON values are of; raises KeyError where a name is missing."""
    return Record(
        bench=str(found["bench"]),
        machine=found.get("machine") or {},
        seed=int(found.get("seed") or 0),
        rounds=int(found.get("rounds") or 0),
        figures=tuple(_figure(one) for one in found["figures"]),
        curves={name: _curve(one) for name, one in (found.get("curves") or {}).items()},
        processes=found.get("processes") or {},
        method=str(found.get("method") or ""),
        problems=tuple(str(one) for one in found.get("problems") or ()),
    )


def _figure(one: Mapping[str, Any]) -> Figure:
    value = float(one["value"])
    goal = one.get("goal")
    return Figure(
        name=str(one["name"]),
        unit=str(one.get("unit") or ""),
        value=value,
        low=_number(one.get("low"), value),
        high=_number(one.get("high"), value),
        n=int(one.get("n") or 1),
        goal=None if goal is None else float(goal),
        goal_is=str(one.get("goal_is") or AT_MOST),
        peer=_peer(one["peer"]) if one.get("peer") else None,
    )


def _peer(one: Mapping[str, Any]) -> Peer:
    optional = {name: None if one.get(name) is None else float(one[name]) for name in ("low", "high", "goal")}
    return Peer(str(one["name"]), float(one["value"]), **optional)


def _curve(one: Mapping[str, Any]) -> Curve:
    """Return a curve: `x` and `lines`, or `x` and one line `y`."""
    lines = one.get("lines") or {"": one["y"]}
    return Curve(one["x"], lines, str(one.get("x_label") or ""), str(one.get("y_label") or ""))


def _number(value: object, otherwise: float) -> float:
    return otherwise if value is None else float(str(value))


def this_machine(folder: Path | None = None) -> dict[str, Any]:
    """Return what the figures depend on: processor, memory, disk of this folder, versions, the day and the load now."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "filesystem": _filesystem(folder or Path.cwd()),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "at": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "load": round(os.getloadavg()[0], 2),
    }


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model")))
    return next(named, platform.machine())


def _filesystem(folder: Path) -> str:
    """Return the type of the file system that holds a folder: syncing costs what it makes of it."""
    mounts = [one for one in psutil.disk_partitions(all=True) if folder.resolve().is_relative_to(one.mountpoint)]
    return max(mounts, key=lambda one: len(one.mountpoint)).fstype if mounts else "unknown"
