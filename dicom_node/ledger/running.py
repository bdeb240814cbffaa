"""The node's runs, as rows: what ages by running does not age by a clock that leaps, nor while the node is off."""

from __future__ import annotations

from sqlalchemy import Connection, delete, select

from dicom_node.core.running import Ran, Run
from dicom_node.ledger.audit import audit
from dicom_node.ledger.database import progress
from dicom_node.ledger.progress import write_progress

_KEPT = 200  # runs; older ones are forgotten, which keeps what is old a little longer
_SAME_S = 300.0  # a restart that takes no longer does not end a run
_NAME = "run "


def read(connection: Connection) -> Ran:
    """Return the runs, oldest first."""
    return Ran(tuple(run for _, run in _numbered(connection)))


def begin(connection: Connection, now: float) -> None:
    """Note that the node runs from now on, and its clock too; a short pause before does not count as one."""
    numbered = _numbered(connection)
    if numbered and 0.0 <= now - numbered[-1][1].ended <= _SAME_S:
        return extend(connection, now)
    number = numbered[-1][0] + 1 if numbered else 1
    for end in ("began", "ended"):
        write_progress(connection, f"{_NAME}{number:08} {end}", int(now))
    for old, _ in numbered[: 1 - _KEPT]:
        connection.execute(delete(progress).where(progress.c.name.like(f"{_NAME}{old:08} %")))
    return None


def extend(connection: Connection, now: float) -> None:
    """Note that the last run has lasted until now."""
    number, run = _numbered(connection)[-1]
    write_progress(connection, f"{_NAME}{number:08} ended", int(max(now, run.began)))


def adopt(connection: Connection) -> None:
    """Where no run was ever noted, take the time from the trail's first record to its last as one."""
    if not _numbered(connection):
        first, last = (
            connection.execute(select(audit.c.at).order_by(order).limit(1)).scalar()
            for order in (audit.c.seq, audit.c.seq.desc())
        )
        if first is not None and last is not None and first <= last:
            write_progress(connection, f"{_NAME}{1:08} began", int(first))
            write_progress(connection, f"{_NAME}{1:08} ended", int(last))


def _numbered(connection: Connection) -> list[tuple[int, Run]]:
    names = progress.c.name.like(_NAME + "%")
    found: dict[int, dict[str, float]] = {}
    for name, value in connection.execute(select(progress.c.name, progress.c.value).where(names)):
        _, number, end = name.split()
        found.setdefault(int(number), {})[end] = float(value)
    return [(number, Run(ends["began"], ends["ended"])) for number, ends in sorted(found.items())]
