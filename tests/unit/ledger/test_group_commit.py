"""Threads that wait share a transaction; each still gets its own answer."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import select

from dicom_node.core.errors import LedgerUnavailable
from dicom_node.ledger import audit, group_commit
from dicom_node.ledger.audit import audit as rows
from dicom_node.ledger.group_commit import GroupCommit
from tests.support.waiting import until


@pytest.fixture
def ledger(empty):
    return empty


def events(ledger):
    with ledger.transaction() as connection:
        return list(connection.execute(select(rows.c.event)).scalars())


def together(commits, steps):
    """Run the steps in threads that all wait for one that holds the ledger; returns what each came to."""
    held, release, outcomes = threading.Event(), threading.Event(), {}

    def first(connection):
        held.set()
        release.wait(60)
        audit.note(connection, 0.0, "first")

    def attempt(number, step):
        try:
            outcomes[number] = commits.run(step)
        except (ValueError, LedgerUnavailable) as error:
            outcomes[number] = error

    leader = threading.Thread(target=commits.run, args=(first,))
    leader.start()
    assert held.wait(60)
    threads = [threading.Thread(target=attempt, args=item) for item in enumerate(steps)]
    for number, thread in enumerate(threads, start=1):
        thread.start()
        until(lambda number=number: len(commits._waiting) == number, 60, "it waits, behind those before it")
    release.set()
    for thread in (leader, *threads):
        thread.join(60)
    return [outcomes[number] for number in range(len(steps))]


def note(event):
    return lambda connection: (audit.note(connection, 0.0, event), event)[1]


def failing(connection):
    audit.note(connection, 0.0, "undone")
    message = "no"
    raise ValueError(message)


def test_all_that_wait_are_committed_at_once(ledger, monkeypatch):
    begun = []
    transaction = ledger.transaction
    monkeypatch.setattr(ledger, "transaction", lambda: (begun.append(1), transaction())[1])
    assert together(GroupCommit(ledger), [note("one"), note("two")]) == ["one", "two"]
    assert len(begun) == 2  # the leader's, and one for the two behind it
    monkeypatch.undo()
    assert sorted(events(ledger)) == ["first", "one", "two"]


def test_one_failure_in_a_group_is_its_own(ledger):
    one, failed, two = together(GroupCommit(ledger), [note("one"), failing, note("two")])
    assert (one, two) == ("one", "two")
    assert isinstance(failed, ValueError)
    assert sorted(events(ledger)) == ["first", "one", "two"]


def test_a_commit_that_fails_fails_for_all(ledger, monkeypatch):
    def broken():
        message = "the disk is gone"
        raise LedgerUnavailable(message)

    commits = GroupCommit(ledger)
    monkeypatch.setattr(ledger, "transaction", broken)
    with pytest.raises(LedgerUnavailable):
        commits.run(note("one"))
    monkeypatch.undo()
    assert commits.run(note("two")) == "two"
    assert events(ledger) == ["two"]


@pytest.fixture
def late(ledger):
    """A commit on its way: what it is part of, and how to let it arrive."""
    commits, on_its_way, arrive = GroupCommit(ledger), threading.Event(), threading.Event()
    thread = threading.Thread(target=commits.run, args=(note("late"), lambda: (on_its_way.set(), arrive.wait(60))))
    thread.start()
    assert on_its_way.wait(60)

    def release():
        arrive.set()
        thread.join(60)

    yield commits, release
    release()


def test_who_is_on_its_way_is_waited_for(ledger, late, monkeypatch):
    commits, release = late
    monkeypatch.setattr(group_commit, "_PATIENCE_S", 60)
    begun, transaction = [], ledger.transaction
    monkeypatch.setattr(ledger, "transaction", lambda: (begun.append(1), transaction())[1])
    early = threading.Thread(target=commits.run, args=(note("early"),))
    early.start()
    until(lambda: commits._waiting, 60, "it waits")
    release()
    early.join(60)
    assert len(begun) == 1
    assert events(ledger) == ["early", "late"]


def test_who_stays_away_is_not_waited_for_for_long(ledger, late):
    commits, release = late
    assert commits.run(note("early")) == "early"
    assert events(ledger) == ["early"]
    release()
    assert events(ledger) == ["early", "late"]


def test_who_fails_on_its_way_is_no_longer_expected(ledger):
    def full():
        raise OSError(28, "no space")

    commits = GroupCommit(ledger)
    with pytest.raises(OSError, match="no space"):
        commits.run(note("one"), full)
    assert commits._coming == 0
    assert commits.run(note("two")) == "two"
    assert events(ledger) == ["two"]
