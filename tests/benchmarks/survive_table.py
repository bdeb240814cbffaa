"""What a case is, what was seen of each receiver, and the table of it."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.benchmarks.survive_receivers import Receiver

NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True)
class Scale:
    """How much of everything; seconds, MB and counts."""

    watch_s: float = 10.0
    peers: int = 100
    associations: int = 10_000
    associations_s: float = 60.0  # a receiver that is compared gets no longer for them
    resets: int = 300
    fuzzed: int = 5000
    endless_mb: int = 2000
    large_each: int = 4
    results: int = 10_000
    outage_hours: float = 72.0


QUICK = Scale(4.0, 40, 1000, 20.0, 60, 500, 400, 1, 500, 6.0)


@dataclass(frozen=True)
class Sight:
    """What was seen of one receiver in one case, and whether it is what the node promises."""

    text: str
    held: bool


@dataclass(frozen=True)
class Case:
    """One case: its number in the list of faults, what is done, and what the node promises."""

    case: str
    what: str
    expected: str
    see: Callable[[Receiver, Scale], Sight]
    secure: bool = False


@dataclass
class Row:
    """A case and what was seen of each receiver; held: of the node alone, whose promises these are."""

    case: str
    what: str
    expected: str
    held: bool = True
    seen: dict[str, str] = field(default_factory=dict)


def as_table(rows: Sequence[Row], receivers: Sequence[str]) -> Table:
    """Return the table for a person at a terminal."""
    table = Table("case", "expected of the node", *receivers, "", show_lines=True)
    for row in rows:
        seen = [row.seen.get(name, NOT_APPLICABLE) for name in receivers]
        table.add_row(f"{row.case}: {row.what}", row.expected, *seen, "held" if row.held else "[red]NOT HELD[/red]")
    return table


def as_json(rows: Sequence[Row], began: float) -> dict[str, Any]:
    """Return the rows with when, for how long and beside what load they were seen."""
    load = [round(value, 1) for value in os.getloadavg()]
    when = time.strftime("%Y-%m-%d %H:%M", time.gmtime(began))
    facts = {"began": when, "wall_s": round(time.time() - began), "load_at_the_end": load, "cpus": os.cpu_count()}
    return facts | {"rows": [asdict(row) for row in rows]}
