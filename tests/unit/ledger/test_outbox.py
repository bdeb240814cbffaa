"""The queue of a destination: its order, its batches, and what is noted of each attempt."""

from __future__ import annotations

import pytest

from dicom_node.core.delivery import Backoff, SlotSent
from dicom_node.ledger import outbox
from dicom_node.ledger.overview import Overview
from tests.support.published import Outgoing

BACKOFF = Backoff(first_s=5.0, longest_s=60.0, give_up_s=900.0)
PACS = {"name": "pacs", "ae_title": "A", "host": "h", "port": 1}


@pytest.fixture
def node(tmp_path, server):
    with Outgoing(tmp_path, PACS, PACS | {"name": "other"}, clock=lambda: 100.0, server=server) as outgoing:
        yield outgoing


def take(node, limit=10, now=1000.0):
    with node.ledger.transaction() as connection:
        return outbox.take_due(connection, "pacs", now, limit)


def studies(dues):
    return [due.study_instance_uid for due in dues]


def test_positive_results_go_first_and_the_others_as_they_were_queued(node):
    for study, outcome in (("1.1", "negative"), ("1.2", "inconclusive"), ("1.3", "positive"), ("1.4", "negative")):
        node.publish(study, outcome=outcome)
    assert studies(take(node, limit=3)) == ["1.3", "1.2", "1.1"]
    assert studies(take(node)) == ["1.4"]
    assert take(node) == ()


def test_what_was_taken_and_not_begun_is_as_it_was(node):
    for study in ("1.1", "1.2"):
        node.publish(study)
    first = take(node)
    with node.ledger.transaction() as connection:
        outbox.put_back(connection, first)
        outbox.put_back(connection, ())
    assert take(node) == first


def test_a_batch_holds_one_version_of_a_study_even_a_positive_later_one(node):
    node.publish("1.1", 1)
    node.publish("1.1", 2, outcome="positive")
    (first,) = take(node)
    assert first.version == 1
    assert take(node) == ()
    with node.ledger.transaction() as connection:
        outbox.succeed(connection, first, (), 1000.0)
    assert [due.version for due in take(node)] == [2]


def test_an_interrupted_delivery_waits_by_itself_and_goes_last(node):
    node.publish("1.1", outcome="positive")
    node.publish("1.2")
    first = take(node)[0]
    with node.ledger.transaction() as connection:
        outbox.release_all(connection)
        again = outbox.postpone(connection, first, "broke", BACKOFF, 500.0, 0.5)
    assert again == 505.0
    assert studies(take(node, now=504.0)) == ["1.2"]
    with node.ledger.transaction() as connection:
        outbox.release_all(connection)
    assert studies(take(node)) == ["1.2", "1.1"]


def test_what_never_began_keeps_its_place(node):
    node.publish("1.1")
    node.publish("1.2")
    first = take(node)[0]
    with node.ledger.transaction() as connection:
        outbox.release_all(connection)
        outbox.not_begun(connection, first, "down")
    assert studies(take(node)) == ["1.1", "1.2"]
    delivery = node.delivery("1.1", "pacs")
    assert (delivery["attempts"], delivery["last_error"]) == (1, "down")


def test_what_has_waited_too_long_is_given_up_at_that_destination_alone(node):
    node.publish("1.1")
    with node.ledger.transaction() as connection:
        assert outbox.expire(connection, "pacs", "down", 99.0, 1000.0) == 0
        assert outbox.expire(connection, "pacs", "down", 100.0, 1000.0) == 1
    assert [node.delivery("1.1", name)["state"] for name in ("pacs", "other")] == ["dead", "ready"]
    history = Overview(node.folders.ledger).study("1.1")["history"]
    assert [row["detail"] for row in history if row["event"] == "delivery.dead"] == ["version 1 to pacs: down"]


def test_one_destination_may_be_revived_and_its_count_begins_anew(node):
    node.publish("1.1")
    with node.ledger.transaction() as connection:
        for name in ("pacs", "other"):
            outbox.expire(connection, name, "down", 100.0, 1000.0)
        assert outbox.revive(connection, "", 2000.0, "pacs") == 1
        assert outbox.revive(connection, "9.9", 2000.0) == 0
    (due,) = take(node, now=2000.0)
    assert (due.attempts, due.interrupted, due.created_at) == (0, 0, 2000.0)


def test_what_a_destination_has_is_noted_and_replaced_by_a_later_attempt(node):
    node.publish("1.1")
    (due,) = take(node)
    with node.ledger.transaction() as connection:
        outbox.give_up(connection, due, (SlotSent("sr", None, 0xC000, "no"),), "no", 1000.0)
        outbox.succeed(connection, due, (SlotSent("sc-1", 1, 0), SlotSent("sr", 4, 0, "34 refused")), 1000.0)
    slots = node.delivery("1.1", "pacs")["slots"]
    assert [(slot["slot"], slot["kind"], slot["note"]) for slot in slots] == [
        ("sc-1", "sc", ""),
        ("sr", "sr-33", "34 refused"),
    ]
