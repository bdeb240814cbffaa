"""The two tables of docs/faults.md that a run renews: what was seen beside other receivers, and the figures from it.

Rows that were not run this time stay as they are, so that a few can be taken again on a quiet machine.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shlex
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

from tests.benchmarks.survive_receivers import RECEIVERS
from tests.benchmarks.survive_table import NOT_APPLICABLE, Row

if TYPE_CHECKING:
    from collections.abc import Sequence

BEGIN, END = "<!-- survive: begin -->", "<!-- survive: end -->"
_MOST_SAID = 4
_NODE = next(iter(RECEIVERS))
_ALONE = frozenset(("C23-C28", "C30", "C39", "C42", "C53"))  # what has no counterpart elsewhere
_FIGURE = re.compile(r"^(\| [\d, ]+ \| .*? \| `scripts/bench survive --only ([^`]+)` \| ).*( \|)$")


def renewed(page: str, rows: Sequence[Row]) -> str:
    """Return the page with these rows in its table, and with the figures that follow from them."""
    before, _, rest = page.partition(BEGIN)
    table, _, after = rest.partition(END)
    merged = _merged(_read(table), rows)
    beside = _table([row for row in merged if row.case not in _ALONE], list(RECEIVERS))
    alone = _table([row for row in merged if row.case in _ALONE], [_NODE])
    lines = [_when(), "", *beside, "", "Of the node alone, what has no counterpart:", "", *alone]
    whole = "\n".join([before + BEGIN, *lines, END + after])
    return "\n".join(_figure(line, merged) for line in whole.split("\n"))


def _when() -> str:
    when, load = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()), os.getloadavg()[2]
    others = [f"pynetdicom {importlib.metadata.version('pynetdicom')}"]
    for name, line in {"Orthanc": ["Orthanc", "--version"], "DCMTK": ["storescp", "--version"]}.items():
        if shutil.which(line[0]):
            said = subprocess.run(line, capture_output=True, text=True, check=False).stdout
            found = re.search(r"(?:v|Orthanc )(\d+\.\d+\.\d+)", said)
            others.append(f"{name} {found[1] if found else 'of unknown version'}")
    return f"Renewed last on {when}, {os.cpu_count()} cores at a load of {load:.1f}; {', '.join(others)}."


def _read(tables: str) -> list[Row]:
    cells = [line.strip("| ").split(" | ") for line in tables.splitlines() if line.startswith("| ")]
    found = []
    for what, case, expected, *seen, state in cells:
        if case in {"Case", "---"}:
            continue
        named = zip(RECEIVERS, seen, strict=False)  # of the node alone: the first of them
        kept = {name: text for name, text in named if text != NOT_APPLICABLE}
        found.append(Row(case, what, expected, state == "held", kept))
    return found


def _merged(old: list[Row], new: Sequence[Row]) -> list[Row]:
    known = {(row.case, row.what): row for row in old}
    for row in new:
        before = known.get((row.case, row.what), row)
        held = row.held if _NODE in row.seen else before.held
        known[row.case, row.what] = Row(row.case, row.what, row.expected, held, before.seen | row.seen)
    return sorted(known.values(), key=_order)


def _order(row: Row) -> tuple[str, int, str]:
    """Sort as the list of faults does, what is a figure alone behind it."""
    number = re.search(r"\d+", row.case)
    return row.case[0], int(number[0]) if number else 0, row.case


def _table(rows: Sequence[Row], receivers: Sequence[str]) -> list[str]:
    head = ("What", "Case", "Expected of the node", *receivers, "State")
    lines = [_line(head), _line(["---"] * len(head))]
    for row in rows:
        seen = [row.seen.get(name, NOT_APPLICABLE) for name in receivers]
        lines.append(_line([row.what, row.case, row.expected, *seen, "held" if row.held else "not held"]))
    return lines


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(' '.join(cell.replace('|', '/').split()) for cell in cells)} |"


def _figure(line: str, rows: Sequence[Row]) -> str:
    found = _FIGURE.match(line)
    if found is None:
        return line
    cases = shlex.split(found[2])
    own = [row for row in rows if row.case in cases and _NODE in row.seen]
    said = "; ".join(row.seen[_NODE] for row in own) or "not measured"
    if len(own) > _MOST_SAID:
        said = f"{sum(row.held for row in own)} of {len(own)} held, below"
    return f"{found[1]}{said}{found[3]}"
