"""The work queue: leases, fences, crashes, and no answer from a zombie."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy import select

from dicom_node.core.delivery import Backoff
from dicom_node.core.study import Quiet
from dicom_node.ledger import instances, jobs
from dicom_node.ledger.database import Database, job
from tests.unit.ledger.arrivals import an_arrival

RETRY = Backoff(first_s=1.0, longest_s=60.0, give_up_s=3600.0)


@pytest.fixture
def ledger(empty):
    with empty.transaction() as connection:
        instances.record(connection, an_arrival("1.2.3.1"), Quiet(10, 60), "bundle", now=100.0)
    return empty


def test_a_job_is_leased_once(ledger):
    with ledger.transaction() as connection:
        first = jobs.lease(connection, 100.0, 60.0)
        assert first is not None
        assert jobs.lease(connection, 100.0, 60.0) is None


def test_the_answer_of_a_zombie_is_dropped(ledger):
    with ledger.transaction() as connection:
        zombie = jobs.lease(connection, 100.0, 60.0)
        assert zombie is not None
        assert not jobs.crash(connection, zombie, "gone", limit=3)
        heir = jobs.lease(connection, 101.0, 60.0)
        assert heir is not None
        assert heir.fence > zombie.fence
        assert not jobs.complete(connection, zombie)
        assert jobs.complete(connection, heir)
        assert not jobs.complete(connection, heir), "a job is done once"


def test_a_job_that_crashes_three_workers_is_dead(ledger):
    with ledger.transaction() as connection:
        for number in (1, 2, 3):
            lease = jobs.lease(connection, 100.0, 60.0)
            assert lease is not None
            assert jobs.crash(connection, lease, "gone", limit=3) is (number == 3)
        assert jobs.lease(connection, 1e9, 60.0) is None


def test_c30_the_images_that_come_next_are_named_up_to_one_that_ended_a_worker(ledger):
    with ledger.transaction() as connection:
        for number in (2, 3, 4, 5):
            arrival = an_arrival(f"1.2.3.{number}", content=f"{number}")
            instances.record(connection, arrival, Quiet(10, 60), "bundle", 100.0 + number)
        assert jobs.next_images(connection, 99.0, 3) == [], "nothing is due"
        first = jobs.lease(connection, 200.0, 60.0)
        one = first.instance_id
        assert jobs.next_images(connection, 200.0, 3) == [one + 1, one + 2, one + 3]
        second = jobs.lease(connection, 200.0, 60.0)
        third = jobs.lease(connection, 200.0, 60.0)
        assert not jobs.crash(connection, third, "gone", limit=3)
        assert jobs.next_images(connection, 200.0, 3) == [], "the next may end another"
        assert not jobs.fail(connection, second, "later", RETRY, 200.0, jitter=0.5)
        assert jobs.next_images(connection, 102.5, 3) == [], "not due"
        assert jobs.complete(connection, jobs.lease(connection, 200.0, 60.0))
        assert jobs.next_images(connection, 200.0, 3) == [one + 3, one + 4]


def test_an_error_waits_in_the_row_and_is_given_up_in_the_end(ledger):
    with ledger.transaction() as connection:
        lease = jobs.lease(connection, 100.0, 60.0)
        assert lease is not None
        assert not jobs.fail(connection, lease, "later", RETRY, 100.0, jitter=0.5)
        assert jobs.lease(connection, 100.5, 60.0) is None
        again = jobs.lease(connection, 101.1, 60.0)
        assert again is not None
        assert jobs.fail(connection, again, "never", RETRY, 100.0 + 3600.0, jitter=0.5)


def test_a_restart_takes_back_every_lease_and_counts_no_crash(ledger):
    with ledger.transaction() as connection:
        before = jobs.lease(connection, 100.0, 60.0)
        assert before is not None
        assert jobs.release_all(connection) == 1
        assert not jobs.complete(connection, before)
        after = jobs.lease(connection, 100.0, 60.0)
        assert after is not None
        assert after.crashes == 0


def test_a_lease_whose_answer_the_ledger_could_not_take_is_given_again(ledger):
    with ledger.transaction() as connection:
        before = jobs.lease(connection, 100.0, 60.0)
        assert before is not None
        assert jobs.release_stale(connection, 160.0) == 0
        assert jobs.release_stale(connection, 160.1) == 1
        assert not jobs.complete(connection, before)
        assert jobs.lease(connection, 160.1, 60.0) is not None


class QueueMachine(RuleBasedStateMachine):
    """However leases, answers, crashes, errors and restarts interleave, a job is completed at most once."""

    @initialize()
    def start(self):
        self.ledger = Database("sqlite://")
        self.leases: list[jobs.Lease] = []
        self.completed: dict[int, int] = {}
        self.now = 100.0
        with self.ledger.transaction() as connection:
            for number in range(3):
                instances.record(connection, an_arrival(f"1.2.3.{number}"), Quiet(10, 60), "bundle", self.now)

    @rule()
    def lease(self):
        with self.ledger.transaction() as connection:
            lease = jobs.lease(connection, self.now, 60.0)
        if lease is not None:
            self.leases.append(lease)

    @rule(which=st.integers(0, 50))
    def complete(self, which):
        if self.leases:
            lease = self.leases[which % len(self.leases)]
            with self.ledger.transaction() as connection:
                if jobs.complete(connection, lease):
                    self.completed[lease.job_id] = self.completed.get(lease.job_id, 0) + 1

    @rule(which=st.integers(0, 50))
    def crash(self, which):
        if self.leases:
            with self.ledger.transaction() as connection:
                jobs.crash(connection, self.leases[which % len(self.leases)], "gone", limit=3)

    @rule(which=st.integers(0, 50))
    def fail(self, which):
        if self.leases:
            with self.ledger.transaction() as connection:
                jobs.fail(connection, self.leases[which % len(self.leases)], "x", RETRY, self.now, jitter=0.1)

    @rule()
    def restart(self):
        with self.ledger.transaction() as connection:
            jobs.release_all(connection)

    @rule(seconds=st.floats(0, 100))
    def wait(self, seconds):
        self.now += seconds

    @invariant()
    def completed_once(self):
        if hasattr(self, "completed"):
            assert all(count == 1 for count in self.completed.values())
            with self.ledger.transaction() as connection:
                states = {row.id: row.state for row in connection.execute(select(job.c.id, job.c.state))}
            assert {key for key, state in states.items() if state == "done"} == set(self.completed)

    def teardown(self):
        if hasattr(self, "ledger"):
            self.ledger.close()


TestQueue = QueueMachine.TestCase
TestQueue.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
