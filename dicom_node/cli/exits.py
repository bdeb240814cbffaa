"""What `dicom-node` ends with. Scripts may rely on these; docs/operations.md has the same table."""

from __future__ import annotations

GOOD = 0
FAILED = 1
USAGE = 2
LEDGER = 3
SILENT = 4
INTERNAL = 70
INTERRUPTED = 130

MEANINGS = {
    GOOD: "done; for a check: nothing is wrong",
    FAILED: "not done, or a check found what is wrong; the line on standard error says what to do",
    USAGE: "wrong usage or settings; file and line are named, and a running node keeps its settings",
    LEDGER: "the ledger needs a person: missing, damaged, or of another version",
    SILENT: "no node answers: it is not running, or runs with another configuration",
    INTERNAL: "a fault of dicom-node itself; one line names the file with the details",
    INTERRUPTED: "interrupted by the keyboard",
}
