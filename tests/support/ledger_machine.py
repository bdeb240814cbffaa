"""The ledger as Hypothesis drives it: whatever comes in whatever order, beside a model of plain dictionaries.

Each rule does what one part of the node does in one transaction: receiving, closing, a worker, a courier, who asks for
commitment, the purge, a person, a restart, a step of the clock.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from sqlalchemy import select

from dicom_node.core.delivery import Backoff, SlotSent
from dicom_node.core.identifiers import new_uid
from dicom_node.core.study import Quiet, Role
from dicom_node.ledger import (
    audit,
    commitments,
    instances,
    jobs,
    outbox,
    purging,
    redating,
    results,
    studies,
    waiting,
)
from dicom_node.ledger.database import (
    delivery,
    study,
    version,
)
from dicom_node.ledger.instances import Recorded
from tests.support.ledger_promises import DEMANDS, KEEP_S, Kept, LedgerPromises
from tests.unit.ledger.arrivals import an_arrival

QUIET = Quiet(10.0, 60.0)
RETRY, NEVER, PATIENCE = Backoff(5.0, 60.0, 1e9), Backoff(0.0, 0.0, 0.0), Backoff(60.0, 3600.0, 1e9)
CRASHES = 3
UIDS = [f"1.2.3.{number}" for number in range(4)]
STUDIES = ["1.2.1", "1.2.2"]


class LedgerMachine(LedgerPromises):
    """What happens; `self.kept` and its like are the model."""

    def teardown(self) -> None:
        """In the end everything is answered, and the whole trail holds."""
        try:
            self.settle()
            with self.ledger.transaction() as connection:
                records = [audit.Record(*row) for row in connection.execute(select(audit.audit))]
            assert audit.verify(records, [self.head]).problem is None
        finally:
            self.ledger.close()
            self.folder.cleanup()

    # Receiving and closing

    @rule(
        uid=st.sampled_from(UIDS),
        of=st.sampled_from(STUDIES),
        content=st.integers(0, 1),
        role=st.sampled_from([Role.VIEW, Role.VIEW, Role.VIEW, Role.KEPT]),
    )
    def receive(self, uid: str, of: str, content: int, role: Role) -> None:
        """A peer sends an instance: new, the same again, or other bytes under a known UID."""
        arrival = an_arrival(uid, content=f"{of} {uid} {content} {role}", study=of, role=role)
        key = (uid, arrival.sha256)
        others = [kept for (u, sha), kept in self.kept.items() if u == uid and sha != arrival.sha256]
        with self.ledger.transaction() as connection:
            found = instances.record(connection, arrival, QUIET, self.bundle, self.now)
        known = self.kept.get(key)
        if known and known.is_current and known.storage == "spool":
            assert found is Recorded.DUPLICATE
            return
        assert found is (Recorded.CONFLICT if any(kept.is_current for kept in others) else Recorded.NEW)
        for kept in others:
            kept.is_current = False
        self.kept[key] = Kept(of, role is Role.VIEW)
        self.acknowledged += 1

    @rule(seconds=st.sampled_from([1.0, 11.0, 61.0, 2 * KEEP_S]))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.now += seconds

    @rule()
    def close(self) -> None:
        """The closer takes a turn."""
        with self.ledger.transaction() as connection:
            for closed in studies.close_due(connection, self.bundle, self.now):
                query = select(study.c.closes_at).where(study.c.study_instance_uid == closed.study_instance_uid)
                assert connection.execute(query).scalar_one() <= self.now
            studies.promote_waiting(connection, self.now)

    # A worker

    @rule()
    def lease(self) -> None:
        """A worker asks for a job."""
        with self.ledger.transaction() as connection:
            lease = jobs.lease(connection, self.now, 60.0)
            if lease is None:
                return
            assert lease.job_id not in {held.job_id for held in self.leases}, "leased twice"
            self.leases.append(lease)
            if lease.version_id is not None:
                self._check_whole(connection, lease.version_id)

    @precondition(lambda self: self.leases)
    @rule(which=st.integers(0, 9), answer=st.sampled_from(["finish", "finish", "finish", "fail", "never", "crash"]))
    def answer(self, which: int, answer: str) -> None:
        """A worker answers, reports an error, or is gone."""
        lease = self.leases.pop(which % len(self.leases))
        with self.ledger.transaction() as connection:
            self._answer(connection, lease, answer)
            studies.promote_waiting(connection, self.now)

    def _answer(self, connection: Any, lease: jobs.Lease, answer: str) -> None:
        is_cancelled = not jobs.is_held(connection, lease)
        if answer == "finish":
            done = jobs.complete(connection, lease)
            assert done is not is_cancelled
            if done and lease.instance_id is not None:
                analysed = results.Analysed(lease.instance_id, self.bundle, "{}", None, None)
                results.save_analysis(connection, analysed, self.now)
            elif done:
                self._publish(connection, lease.version_id or 0)
            return
        if answer == "crash":
            dead = jobs.crash(connection, lease, "gone", CRASHES)
        else:
            dead = jobs.fail(connection, lease, "no", RETRY if answer == "fail" else NEVER, self.now, 0.5)
        assert not (dead and is_cancelled)
        if dead and lease.instance_id is not None:
            analysed = results.Analysed(lease.instance_id, self.bundle, "{}", None, None)
            results.save_analysis(connection, analysed, self.now)
        elif dead:
            results.fail_version(connection, lease.version_id or 0, "no", self.now)

    def _publish(self, connection: Any, version_id: int) -> None:
        sr = results.ReportObject("sr", "sr", "1.2", f"2.25.{version_id}", "2.25.9", "1.2.840.10008.1.2.1", "f")
        found = results.Published("negative", 0.1, None, None, self.bundle, f"results/{version_id}", "0", (sr,))
        if results.publish(connection, version_id, found, tuple(DEMANDS), self.now):
            assert version_id not in self.published, "published twice"
            uid = select(study.c.study_instance_uid).join(version).where(version.c.id == version_id)
            self.published[version_id] = connection.execute(uid).scalar_one()

    @precondition(lambda self: self.zombies)
    @rule(which=st.integers(0, 9), answer=st.sampled_from(["complete", "crash", "fail"]))
    def zombie(self, which: int, answer: str) -> None:
        """A worker that was thought dead answers after all: that changes nothing."""
        lease = self.zombies[which % len(self.zombies)]
        with self.ledger.transaction() as connection:
            assert not jobs.is_held(connection, lease)
            if answer == "complete":
                assert not jobs.complete(connection, lease)
            elif answer == "crash":
                assert not jobs.crash(connection, lease, "gone", 1)
            else:
                assert not jobs.fail(connection, lease, "no", NEVER, self.now, 0.5)

    # A courier, and who asks for commitment

    @rule(
        to=st.sampled_from(list(DEMANDS)),
        outcome=st.sampled_from(["done", "done", "refused", "broken", "not begun", "put back", "kept in hand"]),
    )
    def deliver(self, to: str, outcome: str) -> None:
        """A courier takes what is due."""
        with self.ledger.transaction() as connection:
            for due in outbox.take_due(connection, to, self.now, 2):
                assert due.delivery_id not in self.held, "taken twice"
                self._deliver(connection, due, outcome)

    def _deliver(self, connection: Any, due: outbox.Due, outcome: str) -> None:
        slots = (SlotSent("sr", 0, 0),)
        if outcome == "done":
            outbox.succeed(connection, due, slots, self.now)
            demand = DEMANDS[due.destination]
            commitments.begin(connection, due.delivery_id, due.destination, demand, self.now)
            self.done[due.version_id, due.destination] = self.now
            self.proved.discard(due.version_id if due.destination == "pacs" else 0)
        elif outcome == "refused":
            outbox.give_up(connection, due, slots, "no", self.now)
        elif outcome == "broken":
            outbox.postpone(connection, due, "gone", RETRY, self.now, 0.5)
        elif outcome == "not begun":
            outbox.not_begun(connection, due, "down")
        elif outcome == "put back":
            outbox.put_back(connection, [due])
        else:
            self.held.add(due.delivery_id)

    @rule(taken=st.booleans())
    def ask(self, *, taken: bool) -> None:
        """The PACS is asked to prove what it stored."""
        with self.ledger.transaction() as connection:
            found, _ = commitments.take_due(connection, "pacs", self.now, 2, new_uid, PATIENCE)
            for claim in found:
                if taken:
                    commitments.asked(connection, claim, self.now)
                else:
                    commitments.postpone(connection, claim, "not now", self.now)
            self.claims += found

    @precondition(lambda self: self.claims)
    @rule(which=st.integers(0, 9), keeps=st.booleans())
    def report(self, which: int, *, keeps: bool) -> None:
        """The PACS reports, perhaps late, perhaps again."""
        claim = self.claims[which % len(self.claims)]
        with self.ledger.transaction() as connection:
            self._report(connection, claim, keeps=keeps)

    def _report(self, connection: Any, claim: commitments.Claim, *, keeps: bool) -> None:
        found = commitments.claim_of(connection, claim.transaction_uid)
        if found is None or not found[1]:
            return
        uids = frozenset(one.sop_instance_uid for one in claim.stored)
        failed = {} if keeps else dict.fromkeys(uids, 0x0112)
        of_it = select(delivery.c.version_id).where(delivery.c.id == claim.delivery_id)
        version_id = connection.execute(of_it).scalar_one()
        whole, refused = commitments.report(connection, found[0], uids if keeps else frozenset(), failed, self.now)
        assert whole is keeps
        if refused:
            commitments.lacks(connection, found[0], refused, self.now, 60.0)
            self.done.pop((version_id, "pacs"))
        else:
            self.proved.add(version_id)

    # The purge, a person, a restart, the clock

    @rule()
    def purge(self) -> None:
        """What was proved delivered long enough ago is given up, and nothing else."""
        with self.ledger.transaction() as connection:
            ids, _ = purging.due(connection, 0, lambda at: self.now - at > KEEP_S, 100)
            for study_id in ids:
                held = purging.holdings(connection, study_id)
                self._check_proved(held.study_instance_uid)
                purging.note_purged(connection, held, self.now, "old")
                for kept in self.kept.values():
                    if kept.study == held.study_instance_uid:
                        kept.storage = "purged"

    @rule(what=st.sampled_from(["retry", "park", "revive"]), uid=st.sampled_from(["", *STUDIES]))
    def a_person(self, what: str, uid: str) -> None:
        """Somebody looks after the queues."""
        with self.ledger.transaction() as connection:
            getattr(waiting, what)(connection, uid, self.now)

    @rule(bundle=st.sampled_from(["", "", "bundle-0", "bundle-1"]))
    def restart(self, bundle: str) -> None:
        """The node is killed and starts again, perhaps with another bundle."""
        self.ledger.close()
        self.ledger = self._open()
        self.bundle = bundle or self.bundle
        self.zombies += self.leases
        self.leases, self.held = [], set()
        with self.ledger.transaction() as connection:
            jobs.release_all(connection)
            outbox.release_all(connection)
            studies.recompose_unpublished(connection)
            studies.queue_missing_analyses(connection, self.bundle, self.now)

    @rule(by=st.sampled_from([-1e8, -3600.0, 3600.0, 1e8]))
    def clock_is_set(self, by: float) -> None:
        """The machine's clock is set; the purge's running time is not (core.running)."""
        with self.ledger.transaction() as connection:
            redating.shift(connection, by)
            audit.note(connection, self.now + by, "clock.stepped")
            redating.hasten(connection, self.now + by)
            later = study.update().values(last_received_at=study.c.last_received_at + by)
            connection.execute(later)
            connection.execute(delivery.update().values(done_at=delivery.c.done_at + by))
        self.done = {key: at + by for key, at in self.done.items()}
        self.now += by

    def settle(self) -> None:
        """Let everything be done that is still to be done; then every study has its answer."""
        self.a_person("retry", "")
        self.restart("")
        turns = 0
        while any(self._left()):
            turns += 1
            assert turns < 50, f"it does not come to rest: {self._left()}"
            self.wait(3600.0)
            self.close()
            self.lease()
            while self.leases:
                self.answer(0, "finish")
                self.lease()
            for to in DEMANDS:
                self.deliver(to, "done")
        with self.ledger.transaction() as connection:
            for (uid, sha), kept in self.kept.items():
                if kept.is_view and kept.is_current and kept.storage == "spool":
                    self._check_answered(connection, uid, sha, kept.study)
