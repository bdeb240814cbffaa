"""Counts and durations over the whole ledger, kept up to date by reading only what is new since the last look.

Everything is computed from rows, so a restart of whoever counts loses nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import JSON, Column, ColumnElement, Connection, Float, case, cast, func, literal, select

from dicom_node.ledger.audit import audit
from dicom_node.ledger.database import analysis, delivery, instance, job, study, version

if TYPE_CHECKING:
    from collections.abc import Iterable

BOUNDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0, 21600.0, 86400.0)
"""Upper bounds of the durations' buckets, seconds."""

_NOTES, _NOTE_NUMBER = audit, audit.c.seq  # where refusals and the model's times are noted, and what numbers them

_CHUNK = 500  # SQLite binds at most 999 values in its older builds
_SECONDS_A_MS = 0.001
_STATUS_DIGITS = 6  # of a refusal's "0xA700: why"


@dataclass
class Durations:
    """A histogram: cumulative counts for BOUNDS, the number of observations and their sum in seconds."""

    counts: list[int] = field(default_factory=lambda: [0] * len(BOUNDS))
    number: int = 0
    total_s: float = 0.0

    def add(self, row: Any) -> None:
        """Add what `_measured` selected."""
        self.counts = [before + (row[f"le{index}"] or 0) for index, before in enumerate(self.counts)]
        self.number += row["number"]
        self.total_s += row["total_s"] or 0.0


@dataclass
class Counts:
    """Everything that is counted; the keys are the columns that are told apart."""

    instances: dict[tuple[str, str], int] = field(default_factory=dict)
    refusals: dict[str, int] = field(default_factory=dict)
    results: dict[str, int] = field(default_factory=dict)
    failures: int = 0
    crashes: int = 0
    closing: Durations = field(default_factory=Durations)
    analyses: Durations = field(default_factory=Durations)
    models: Durations = field(default_factory=Durations)
    reports: Durations = field(default_factory=Durations)
    deliveries: dict[str, Durations] = field(default_factory=dict)


class Tally:
    """Counts that grow with the ledger."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self.counts = Counts()
        self._instances = _Follower(instance.c.id)
        self._refusals = _Follower(_NOTE_NUMBER)
        self._closings = _Follower(version.c.id)
        self._versions = _Follower(version.c.id, ("waiting", "composing"))
        self._jobs = _Follower(job.c.id, ("ready", "leased"))
        self._deliveries = _Follower(delivery.c.id, ("ready", "sending", "dead"))

    def advance(self, connection: Connection) -> Counts:
        """Count what is new. The connection must be in no transaction: one snapshot is read."""
        if connection.dialect.name == "sqlite":  # elsewhere a connection that reads sees one moment anyway
            connection.exec_driver_sql("BEGIN")
        if self._is_another(connection):
            self._begin()  # a ledger put back from a backup: counted from its beginning
        try:
            self._count_arrivals(connection)
            self._count_studies(connection)
            for which in self._jobs.settled(connection):
                self._count_jobs(connection, which)
            self._count_deliveries(connection)
        except BaseException:
            self._begin()  # half counted is not counted
            raise
        return self.counts

    def _is_another(self, connection: Connection) -> bool:
        return (connection.execute(select(func.max(instance.c.id))).scalar() or 0) < self._instances.mark

    def _count_arrivals(self, connection: Connection) -> None:
        for which in self._instances.settled(connection):
            key = (instance.c.role, func.coalesce(instance.c.reason_code, ""))
            query = select(*key, func.count()).where(which).group_by(*key)
            for role, reason, number in connection.execute(query):
                _add(self.counts.instances, (role, reason), number)
        for which in self._refusals.settled(connection):
            answer = func.substr(_NOTES.c.detail, 1, _STATUS_DIGITS)
            query = select(answer, func.count()).where(which, _NOTES.c.event == "instance.refused").group_by(answer)
            for status, number in connection.execute(query):
                _add(self.counts.refusals, status, number)
            took = _measured(_noted(connection, "engine_ms") * _SECONDS_A_MS)
            timed = select(*took).where(which, _NOTES.c.event == "image.analysed")
            self.counts.models.add(connection.execute(timed).mappings().one())

    def _count_studies(self, connection: Connection) -> None:
        for which in self._closings.settled(connection):
            first = (version.c.number == 1) & (study.c.id == version.c.study_id)
            waited = select(*_measured(version.c.closed_at - study.c.first_received_at)).where(which, first)
            self.counts.closing.add(connection.execute(waited).mappings().one())
        for which in self._versions.settled(connection):
            self._count_versions(connection, which)

    def _count_deliveries(self, connection: Connection) -> None:
        known = delivery.c.destination.in_(_destinations(connection))  # the index begins with it
        for which in self._deliveries.settled(connection, known):
            took = _measured(delivery.c.done_at - delivery.c.created_at)
            query = select(delivery.c.destination, *took).where(which, delivery.c.state == "done")
            for row in connection.execute(query.group_by(delivery.c.destination)).mappings():
                self.counts.deliveries.setdefault(row["destination"], Durations()).add(row)

    def _count_versions(self, connection: Connection, which: ColumnElement[bool]) -> None:
        query = select(version.c.state, version.c.outcome, func.count()).where(which)
        for state, outcome, number in connection.execute(query.group_by(version.c.state, version.c.outcome)):
            if state == "failed":
                self.counts.failures += number
            if outcome is not None:
                _add(self.counts.results, outcome, number)
        took = select(*_measured(version.c.published_at - version.c.closed_at))
        self.counts.reports.add(
            connection.execute(took.where(which, version.c.published_at.is_not(None))).mappings().one()
        )

    def _count_jobs(self, connection: Connection, which: ColumnElement[bool]) -> None:
        self.counts.crashes += int(connection.execute(select(func.sum(job.c.crashes)).where(which)).scalar() or 0)
        key = literal("analyse:").concat(analysis.c.instance_id).concat(":").concat(analysis.c.bundle_sha256)
        mine = (analysis.c.instance_id == job.c.instance_id) & (job.c.key == key)
        took = select(*_measured(analysis.c.made_at - job.c.created_at)).where(which, mine, job.c.state == "done")
        self.counts.analyses.add(connection.execute(took).mappings().one())


class _Follower:
    """Finds the rows of a table that came to rest since the last look; `unsettled` are states that still change."""

    def __init__(self, key: Column[int], unsettled: tuple[str, ...] = ()) -> None:
        self._key = key
        self._unsettled = unsettled
        self._open: set[int] = set()
        self.mark = 0

    def settled(self, connection: Connection, *hints: ColumnElement[bool]) -> Iterable[ColumnElement[bool]]:
        """Return conditions, each true for some of the rows, together for each of them once.

        hints: true for every row, and help the database to find an index.
        """
        key, table = self._key, self._key.table
        top = connection.execute(select(func.max(key))).scalar() or 0
        found: list[ColumnElement[bool]] = []
        still_open: set[int] = set()
        if self._unsettled:
            unsettled = table.c.state.in_(self._unsettled)
            still_open = set(connection.execute(select(key).where(unsettled, *hints)).scalars())
        if top > self.mark:
            new = (key > self.mark) & (key <= top)
            found.append(new & table.c.state.not_in(self._unsettled) if self._unsettled else new)
        closed = sorted(self._open - still_open)
        found += [key.in_(closed[start : start + _CHUNK]) for start in range(0, len(closed), _CHUNK)]
        self._open, self.mark = still_open, top
        return found


def _destinations(connection: Connection) -> list[str]:
    """Return every destination that anything was for, one look into the index each."""
    found: list[str] = []
    while True:
        following = select(func.min(delivery.c.destination)).where(
            delivery.c.destination > (found[-1] if found else "")
        )
        name = connection.execute(following).scalar()
        if name is None:
            return found
        found.append(name)


def recent_outcomes(connection: Connection, limit: int) -> list[str]:
    """Return the outcomes of the results published last, newest first."""
    query = select(version.c.outcome).where(version.c.outcome.is_not(None)).order_by(version.c.id.desc()).limit(limit)
    return list(connection.execute(query).scalars())


def recent_scores(connection: Connection, bundle_sha256: str, limit: int) -> list[float]:
    """Return the probabilities that a bundle gave last, newest first."""
    mine = (version.c.bundle_sha256 == bundle_sha256) & version.c.probability.is_not(None)
    query = select(version.c.probability).where(mine).order_by(version.c.id.desc()).limit(limit)
    return list(connection.execute(query).scalars())


def _noted(connection: Connection, fact: str) -> ColumnElement[float]:
    """Return a number among a record's facts, which are JSON in a column of text."""
    if connection.dialect.name == "sqlite":
        return func.json_extract(_NOTES.c.facts, f"$.{fact}", type_=Float)
    number: ColumnElement[float] = cast(_NOTES.c.facts, JSON)[fact].as_float()
    return number


def _measured(seconds: ColumnElement[float]) -> list[ColumnElement[Any]]:
    """Return the columns of a histogram over a duration."""
    buckets = [func.sum(case((seconds <= bound, 1), else_=0)).label(f"le{i}") for i, bound in enumerate(BOUNDS)]
    return [*buckets, func.count(seconds).label("number"), func.sum(seconds).label("total_s")]


def _add(counts: dict[Any, int], key: Any, number: int) -> None:
    counts[key] = counts.get(key, 0) + number
