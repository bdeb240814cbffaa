"""docs/faults.md, the table of the hostile and fault cases: its rows, and the tests that are named for a case.

`python -m tests.support.fault_cases` adds to the table what is missing in it and takes out the tests that are gone.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, replace
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = REPOSITORY / "docs" / "faults.md"
CASES = range(1, 55)
STATES = ("held", "partly", "not yet")
_ROW = re.compile(r"^\| C(\d+) \| (.*?) \| (.*?) \| (.*?) \|$")
_NAMED = re.compile(r"^test_(?:cases?_)?((?:c\d\d_)+)(?:to_c(\d\d)_)?")


@dataclass(frozen=True)
class Row:
    """One case: what is promised, the tests that hold it, and the state with what is missing."""

    case: int
    promise: str
    tests: tuple[str, ...]
    state: str

    def __str__(self) -> str:
        names = " ".join(f"`{name}`" for name in self.tests) or "none"
        return f"| C{self.case} | {self.promise} | {names} | {self.state} |"


def rows(page: str) -> list[Row]:
    """Return the table's rows in the page's order."""
    found = (_ROW.match(line) for line in page.splitlines())
    return [Row(int(m[1]), m[2], tuple(re.findall(r"`(\w+)`", m[3])), m[4]) for m in found if m]


def all_tests() -> set[str]:
    """Return the name of every test function in the tree."""
    return {
        node.name
        for path in (REPOSITORY / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def cases_of(test: str) -> set[int]:
    """Return the cases that a test is named for: test_c05_…, test_c39_c40_…, test_cases_c22_to_c31_…."""
    named = _NAMED.match(test)
    if named is None:
        return set()
    numbers = [int(number) for number in re.findall(r"c(\d\d)", named[1])]
    return set(range(numbers[0], int(named[2]) + 1)) if named[2] else set(numbers)


def mended(row: Row, tests: set[str]) -> Row:
    """Return a row with the tests named for its case, and without those that are gone."""
    kept = [name for name in row.tests if name in tests]
    added = sorted(name for name in tests if row.case in cases_of(name) and name not in kept)
    return replace(row, tests=(*kept, *added))


def main() -> None:
    """Renew the table's column of tests."""
    tests = all_tests()
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    renewed = [str(mended(rows(line)[0], tests)) if _ROW.match(line) else line for line in lines]
    PAGE.write_text("\n".join(renewed) + "\n", encoding="utf-8")
    named = sum(bool(cases_of(test)) for test in tests)
    print(f"{named} tests are named for a case")  # noqa: T201 - a command


if __name__ == "__main__":
    main()
