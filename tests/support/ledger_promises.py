"""What the ledger promises, as a model of plain dictionaries and invariants that are looked at after every step."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from hypothesis.stateful import RuleBasedStateMachine, invariant
from sqlalchemy import func, select

from dicom_node.ledger import audit, commitments, jobs, results, sqlite_file
from dicom_node.ledger.database import (
    Database,
    delivery,
    instance,
    job,
    result_object,
    study,
    version,
    version_instance,
)

KEEP_S = 1000.0
DEMANDS: dict[str, Any] = {"pacs": "required", "ris": "none"}


@dataclass
class Kept:
    """An acknowledged instance in the model."""

    study: str
    is_view: bool
    is_current: bool = True
    storage: str = "spool"


class LedgerPromises(RuleBasedStateMachine):
    """The model, and what always holds; the rules are a subclass's."""

    def __init__(self) -> None:
        super().__init__()
        memory = Path("/dev/shm")  # noqa: S108 - a folder of our own in it; a sync costs nothing there
        self.folder = tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None)
        self.bundle, self.now = "bundle-0", 1e9
        self.leases: list[jobs.Lease] = []
        self.zombies: list[jobs.Lease] = []
        self.held: set[int] = set()  # deliveries in a courier's hand
        self.claims: list[commitments.Claim] = []
        self.kept: dict[tuple[str, str], Kept] = {}
        self.acknowledged = 0
        self.published: dict[int, str] = {}
        self.done: dict[tuple[int, str], float] = {}
        self.proved: set[int] = set()
        self.head = audit.Head()
        self.ledger = self._open()

    def _open(self) -> Database:
        with patch.object(sqlite_file, "_LOG_BYTES", 4096):  # its full length helps a disk, and there is none
            return Database(f"sqlite:///{self.folder.name}/ledger.sqlite", b"key")

    @invariant()
    def nothing_acknowledged_is_lost(self) -> None:
        """Every instance has its row, as the model has it, and its record in the trail."""
        with self.ledger.transaction() as connection:
            columns = (instance.c.sop_instance_uid, instance.c.sha256, instance.c.is_current, instance.c.storage)
            rows = {(row[0], row[1]): (row[2], row[3]) for row in connection.execute(select(*columns))}
            stored = audit.audit.c.event.in_(("instance.stored", "instance.conflict"))
            noted = connection.execute(select(func.count()).select_from(audit.audit).where(stored)).scalar_one()
        assert rows == {key: (kept.is_current, kept.storage) for key, kept in self.kept.items()}
        assert noted == self.acknowledged

    @invariant()
    def no_result_is_there_twice(self) -> None:
        """Each version has its number, its objects and its deliveries once; what is live is what was published."""
        with self.ledger.transaction() as connection:
            live = set(connection.execute(select(version.c.id).where(version.c.state == "published")).scalars())
            uids = connection.execute(select(result_object.c.sop_instance_uid)).scalars().all()
            sent = connection.execute(select(delivery.c.version_id, delivery.c.destination)).all()
            in_work = select(version.c.study_id).where(version.c.state.in_(("waiting", "composing")))
            working = connection.execute(in_work).scalars().all()
        assert live == set(self.published)
        assert len(uids) == len(set(uids)) == len(live)
        assert {tuple(row) for row in sent} == {(one, to) for one in live for to in DEMANDS}
        assert len(working) == len(set(working)), "two versions of a study in work"

    @invariant()
    def claims_are_exclusive(self) -> None:
        """What is leased is in exactly one hand."""
        with self.ledger.transaction() as connection:
            leased = select(job.c.id, job.c.fence).where(job.c.state == "leased")
            rows = {tuple(row) for row in connection.execute(leased)}
        mine = [(lease.job_id, lease.fence) for lease in self.leases]
        assert len(mine) == len(set(mine))
        assert rows <= set(mine)

    @invariant()
    def the_trail_holds(self) -> None:
        """Every new record follows the one before it."""
        with self.ledger.transaction() as connection:
            verdict = audit.verify(audit.after(connection, self.head.seq, 10_000), (), self.head)
        assert verdict.problem is None
        self.head = verdict.head

    def _check_whole(self, connection: Any, version_id: int) -> None:
        """A result is only composed once every view of its version has this bundle's answer."""
        listed = select(func.count()).select_from(version_instance).where(version_instance.c.version_id == version_id)
        found = results.to_compose(connection, version_id, self.bundle)
        assert len(found.views) == connection.execute(listed).scalar_one() > 0

    def _check_proved(self, uid: str) -> None:
        mine = [version_id for version_id, of in self.published.items() if of == uid]
        assert mine, "purged without a result"
        for version_id in mine:
            assert version_id in self.proved, "purged without the proof that is demanded"
            for to in DEMANDS:
                assert self.now - self.done[version_id, to] > KEEP_S, "purged too early"

    def _left(self) -> list[int]:
        """Return how many studies are open, versions unmade, jobs undone and deliveries unsent."""
        states = {study: ("open",), version: ("waiting", "composing"), job: ("ready", "leased")}
        with self.ledger.transaction() as connection:
            return [
                connection.execute(select(func.count()).select_from(table).where(table.c.state.in_(some))).scalar_one()
                for table, some in (states | {delivery: ("ready", "sending")}).items()
            ]

    def _check_answered(self, connection: Any, uid: str, sha: str, of: str) -> None:
        latest = (
            select(version.c.id, version.c.state)
            .join(study)
            .where(study.c.study_instance_uid == of)
            .order_by(version.c.number.desc())
            .limit(1)
        )
        found = connection.execute(latest).one()
        assert found.state in {"published", "failed"}
        listed = select(instance.c.sop_instance_uid, instance.c.sha256).join(version_instance)
        rows = connection.execute(listed.where(version_instance.c.version_id == found.id)).all()
        assert (uid, sha) in {tuple(row) for row in rows}, "a view that no result speaks of"
