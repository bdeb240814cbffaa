"""C46: the machine's clock is set back, or leaps ahead: studies close in their time, and nothing is given up or purged.

A machine has a clock that can be set and one that cannot; a node is started on it, runs, and is started again.
"""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import insert, select, update

from dicom_node.core.delivery import Backoff
from dicom_node.core.errors import LedgerUnavailable
from dicom_node.core.study import Quiet
from dicom_node.ledger import commitments, instances, jobs, outbox, redating, results, running, studies
from dicom_node.ledger.audit import verify
from dicom_node.ledger.database import commitment, delivery, job, open_ledger, study
from dicom_node.ledger.overview import Overview
from dicom_node.ledger.space import Space, Watermarks
from dicom_node.ledger.spool import StateFolders
from dicom_node.ledger.waiting import PARKED_UNTIL
from dicom_node.services.closing import Closer
from dicom_node.services.keeping import Keeper
from dicom_node.services.threads import Bell
from dicom_node.services.timekeeping import Clock, Timekeeper
from tests.unit.ledger.arrivals import an_arrival

HOUR, DAY, YEAR = 3600.0, 86400.0, 365.25 * 86400.0
NOW = 1_800_000_000.0
QUIET = Quiet(30.0, 600.0)
KEEP_DAYS = 30.0
BACKOFF = Backoff(5.0, 60.0, 7 * DAY)


class Machine:
    """A machine with a state folder, and the node that runs on it."""

    def __init__(self, root):
        self.folders = StateFolders(root)
        self.folders.create()
        self.wall, self.uptime = NOW, 0.0
        self.ledger = open_ledger(self.folders.ledger)
        self.boot()

    def boot(self):
        """Start the node."""
        self.clock = Clock(lambda: self.wall, lambda: self.uptime)
        stopping = threading.Event()
        self.timekeeper = Timekeeper(self.ledger, self.clock, Bell(), stopping)
        self.timekeeper.begin()
        space = Space(self.folders, Watermarks(0, 0, 0))
        self.keeper = Keeper(self.ledger, self.folders, space, KEEP_DAYS, self.clock, stopping)
        self.closer = Closer(self.ledger, "bundle", Bell(), self.clock, stopping)

    def off(self, seconds, *, shows=None):
        """Switch the machine off for so long, and on again; its clock goes on, unless it has no battery."""
        self.wall = self.wall + seconds if shows is None else shows
        self.uptime = 0.0
        self.boot()

    def set_clock(self, by):
        self.wall += by

    def run(self, seconds, step=5.0):
        """Let the node run; returns the studies that it closed, each with the seconds after which."""
        closed = []
        for turn in range(int(seconds / step)):
            self.wall += step
            self.uptime += step
            self.timekeeper._noted_at = 0.0  # each turn is a minute's: the note of the run is not waited for
            self.timekeeper.step()
            before = self.states()
            self.closer.step()
            after = self.states()
            closed += [(uid, (turn + 1) * step) for uid in after if (before[uid], after[uid]) == ("open", "closed")]
            assert self.keeper.purge_due() == 0, "nothing is thirty days old"
        return closed

    def states(self):
        with self.ledger.transaction() as connection:
            rows = connection.execute(select(study.c.study_instance_uid, study.c.state)).all()
        return {row.study_instance_uid: row.state for row in rows}

    def receive(self, uid):
        with self.ledger.transaction() as connection:
            arrival = an_arrival(f"{uid}.1", content=uid, study=uid)
            instances.record(connection, arrival, QUIET, "bundle", self.clock())

    def publish(self, destinations):
        """Answer what is closed; its result waits for these destinations."""
        with self.ledger.transaction() as connection:
            while (lease := jobs.lease(connection, self.clock(), 60.0)) is not None:
                jobs.complete(connection, lease)
                if lease.instance_id is not None:
                    analysed = results.Analysed(lease.instance_id, "bundle", "{}", None, None)
                    results.save_analysis(connection, analysed, self.clock())
                    studies.promote_waiting(connection, self.clock())
                else:
                    found = results.Published("negative", 0.1, None, None, "bundle", "results/1", "0", ())
                    results.publish(connection, lease.version_id, found, destinations, self.clock())

    def deliver(self, destination):
        with self.ledger.transaction() as connection:
            (due,) = outbox.take_due(connection, destination, self.clock())
            outbox.succeed(connection, due, (), self.clock())

    def an_attempt_fails(self, destination):
        """Attempt what is due; returns how many deliveries and proofs were given up."""
        with self.ledger.transaction() as connection:
            now = self.clock()
            for due in outbox.take_due(connection, destination, now):
                outbox.not_begun(connection, due, "it is down")
            return outbox.expire(connection, destination, "it is down", now - BACKOFF.give_up_s, now)

    def events(self, name):
        return [record for record in Overview(self.folders.ledger).trail() if record.event == name]


@pytest.fixture
def machine(tmp_path):
    machine = Machine(tmp_path / "state")
    yield machine
    assert verify(Overview(machine.folders.ledger).trail()).problem is None
    machine.ledger.close()


@pytest.mark.parametrize("by", [-HOUR, -YEAR, 10 * YEAR, -NOW], ids=str)
def test_c46_a_study_closes_in_its_time_whatever_the_clock_is_set_to(machine, by):
    machine.receive("1.2.1")
    assert machine.run(10) == []
    machine.set_clock(by)
    assert machine.run(60) == [("1.2.1", 20.0)]
    machine.receive("1.2.2")
    assert machine.run(60) == [("1.2.2", 30.0)]
    (record,) = machine.events("clock.stepped")
    assert record.details()["by_s"] == pytest.approx(by, abs=2.0)
    assert ("ahead" if by > 0 else "back") in record.detail
    with machine.ledger.transaction() as connection:
        assert {one.instance_id for one in (jobs.lease(connection, machine.clock(), 60.0) for _ in "12")} == {1, 2}


@pytest.mark.parametrize("shows", [0.0, NOW + 10 * YEAR], ids=str)
def test_c46_a_machine_that_starts_with_another_time_closes_what_was_open_and_comes_back_to_its_time(machine, shows):
    machine.receive("1.2.1")
    machine.run(10)
    machine.off(HOUR, shows=shows)
    assert machine.run(60) == [("1.2.1", 20.0)]
    machine.receive("1.2.2")
    machine.run(10)
    machine.set_clock(NOW + HOUR - machine.wall)  # the network's time is there
    assert machine.run(60) == [("1.2.2", 20.0)]
    assert len(machine.events("clock.stepped") + machine.events("clock.gap")) == 2
    assert machine.clock() == pytest.approx(NOW + HOUR + 60, abs=10)


def test_c46_a_leap_of_ten_years_gives_nothing_up_and_purges_nothing(machine):
    for uid in ("1.2.1", "1.2.2"):
        machine.receive(uid)
        machine.run(60)
        machine.publish(("pacs",))
        if uid == "1.2.1":
            machine.deliver("pacs")
    for by in (10 * YEAR, -10 * YEAR):
        machine.set_clock(by)
        machine.run(30)
        assert machine.an_attempt_fails("pacs") == 0
    machine.off(DAY / 2, shows=NOW + 20 * YEAR)
    machine.run(30)
    assert machine.an_attempt_fails("pacs") == 0
    assert machine.keeper.purge_due() == 0
    with machine.ledger.transaction() as connection:
        states = connection.execute(select(delivery.c.state).order_by(delivery.c.id)).scalars().all()
    assert states == ["done", "ready"]


def test_c46_what_is_old_by_the_nodes_own_running_is_purged_and_time_off_does_not_count(machine):
    machine.receive("1.2.1")
    machine.run(60)
    machine.publish(("pacs",))
    machine.deliver("pacs")
    machine.set_clock(-YEAR)
    machine.run(20 * DAY, step=DAY / 4)
    machine.off(300 * DAY)
    machine.run(9 * DAY, step=DAY / 4)
    (gap,) = machine.events("clock.gap")
    assert gap.details()["by_s"] == pytest.approx(300 * DAY, abs=HOUR)
    with machine.ledger.transaction() as connection:
        assert running.read(connection).since(NOW) == pytest.approx(29 * DAY, abs=DAY / 4)
    machine.uptime, machine.wall = machine.uptime + DAY + 200, machine.wall + DAY + 200
    machine.timekeeper._noted_at = 0.0
    machine.timekeeper.step()
    assert machine.keeper.purge_due() == 1


def test_c46_what_waits_beyond_every_legal_wait_is_due_and_what_is_parked_stays(machine):
    """As where a ledger of another machine, or of an earlier version, brings times that no step explains."""
    machine.receive("1.2.1")
    machine.receive("1.2.2")
    machine.run(60)
    machine.publish(("pacs", "other"))
    machine.receive("1.2.3")
    future = machine.clock() + YEAR
    with machine.ledger.transaction() as connection:
        connection.execute(update(study).where(study.c.state == "open").values(closes_at=future))
        connection.execute(update(job).where(job.c.state == "ready").values(run_after=future))
        connection.execute(update(delivery).values(run_after=future))
        connection.execute(update(delivery).where(delivery.c.destination == "other").values(run_after=PARKED_UNTIL))
        names = {"destination": "pacs", "demand": "auto", "attempts": 0, "sent_again": 0, "state": "waiting"}
        connection.execute(insert(commitment).values(delivery_id=1, run_after=future, **names))
    machine.boot()
    assert machine.states()["1.2.3"] == "open"
    machine.closer.step()
    assert machine.states()["1.2.3"] == "closed"
    with machine.ledger.transaction() as connection:
        now = machine.clock()
        assert jobs.lease(connection, now, 1.0) is not None
        assert commitments.next_due(connection, "pacs") <= now
        assert len(outbox.take_due(connection, "pacs", now, 9)) == 2
        assert outbox.take_due(connection, "other", now, 9) == ()
        redating.shift(connection, -YEAR)
        assert outbox.next_due(connection, "other") == PARKED_UNTIL


def test_c46_a_ledger_that_cannot_be_written_leaves_the_clock_as_it_was(machine, monkeypatch):
    machine.receive("1.2.1")
    machine.run(10)
    machine.set_clock(-YEAR)

    def fails(*_arguments):
        message = "the disk is full"
        raise LedgerUnavailable(message)

    with monkeypatch.context() as patch:
        patch.setattr("dicom_node.ledger.redating.shift", fails)
        with pytest.raises(LedgerUnavailable):
            machine.timekeeper.step()
    assert machine.clock() == pytest.approx(NOW, abs=20)
    assert machine.events("clock.stepped") == []
    assert machine.run(60) == [("1.2.1", 20.0)]


def test_small_corrections_are_followed_without_a_word(machine):
    for by in (1.0, -3.0, 2.5):
        machine.set_clock(by)
        machine.run(2, step=1.0)
    assert machine.clock() == machine.wall
    assert machine.events("clock.stepped") == []


def test_a_ledger_without_runs_believes_its_trail(machine):
    machine.receive("1.2.1")
    machine.run(60)
    with machine.ledger.transaction() as connection:
        connection.exec_driver_sql("DELETE FROM progress")
        running.adopt(connection)
        (run,) = running.read(connection).runs
    assert (run.began, run.ended) == (NOW, NOW + 30)


def test_runs_that_follow_at_once_are_one_and_only_the_newest_are_kept(machine):
    with machine.ledger.transaction() as connection:
        running.begin(connection, NOW + 200)
        assert len(running.read(connection).runs) == 1
        for number in range(300):
            running.begin(connection, NOW + number * HOUR)
        runs = running.read(connection).runs
    assert len(runs) == 200
    assert runs[-1].began == NOW + 299 * HOUR
