"""Which proof a delivery has, as settings change and reports come in part, twice, late or of strangers."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from dicom_node.core.delivery import Backoff, SlotSent
from dicom_node.core.identifiers import new_uid
from dicom_node.ledger import commitments, database, outbox, purging
from tests.support.published import Outgoing

PATIENCE = Backoff(60.0, 3600.0, 86400.0)
SLOTS = (SlotSent("sc-1", 1, 0), SlotSent("pr-1", None, None, "not accepted"), SlotSent("sr", 4, 0))


class Deliveries:
    """One study's delivery to "pacs", in one ledger; each call is a transaction."""

    def __init__(self, node):
        self.ledger = node.ledger
        self.node = node
        node.publish("1.2.3")

    def __getattr__(self, name):
        def call(*arguments, **more):
            with self.ledger.transaction() as connection:
                return getattr(commitments, name)(connection, *arguments, **more)

        return call

    def deliver(self, demand="none", now=0.0, slots=SLOTS):
        with self.ledger.transaction() as connection:
            (due,) = outbox.take_due(connection, "pacs", 1e9)
            outbox.succeed(connection, due, slots, now)
            commitments.begin(connection, due.delivery_id, "pacs", demand, now)

    def ask(self, now=0.0):
        (claim,), _ = self.take_due("pacs", now, 10, new_uid, PATIENCE)
        self.asked(claim, now)
        return claim

    @property
    def proof(self):
        return self.node.delivery("1.2.3", "pacs")["proof"]

    def is_purgeable(self):
        with self.ledger.transaction() as connection:
            return bool(purging.due(connection, 0, lambda _at: True, 10)[0])


@pytest.fixture
def deliveries(tmp_path, server):
    pacs = {"name": "pacs", "ae_title": "X", "host": "localhost", "port": 1}
    with Outgoing(tmp_path, pacs, clock=lambda: 0.0, server=server) as node:
        yield Deliveries(node)


def test_only_what_was_really_stored_is_asked_for(deliveries):
    deliveries.deliver("auto")
    claim = deliveries.ask()
    objects = deliveries.node.delivery("1.2.3", "pacs")["slots"]
    assert [one.sop_instance_uid for one in claim.stored] == [o["sop_instance_uid"] for o in objects if o["kind"]]
    assert [one.number for one in claim.stored] == [0, 2]


def test_a_report_about_some_leaves_the_others_to_be_asked_for_again(deliveries):
    deliveries.deliver("required")
    claim = deliveries.ask()
    first, second = (one.sop_instance_uid for one in claim.stored)
    assert deliveries.report(claim, frozenset({first, "9.9.9"}), {"9.9.8": 0x0112}, 1.0) == (False, {})
    assert (deliveries.proof, deliveries.is_purgeable()) == ("asked", False)
    assert deliveries.claim_of(claim.transaction_uid)[1] is False, "that transaction is answered"
    again = deliveries.ask(60.0)
    assert deliveries.report(again, frozenset({second}), {}, 61.0) == (True, {})
    assert (deliveries.proof, deliveries.is_purgeable()) == ("committed", True)


def test_what_is_in_the_ledger_when_the_node_dies_is_enough_for_any_report(deliveries):
    deliveries.deliver("auto")
    (claim,), _ = deliveries.take_due("pacs", 0.0, 10, new_uid, PATIENCE)  # and it dies before it could send
    assert deliveries.claim_of(claim.transaction_uid) == (claim, True)
    assert deliveries.take_due("pacs", 59.0, 10, new_uid, PATIENCE) == ((), ())
    assert deliveries.ask(60.0).transaction_uid != claim.transaction_uid
    assert deliveries.claim_of(claim.transaction_uid)[1], "the first request counts too"
    assert deliveries.claim_of("2.25.1") is None


def test_a_report_about_what_was_sent_again_since_says_nothing(deliveries):
    deliveries.deliver("auto")
    claim = deliveries.ask()
    lost = {claim.stored[0].sop_instance_uid: 0x0112}
    assert deliveries.lacks(claim, lost, 1.0, 60.0)
    deliveries.deliver("auto", 2.0)
    assert not deliveries.claim_of(claim.transaction_uid)[1]
    assert deliveries.proof == "waiting"


def test_the_count_of_repetitions_begins_anew_when_a_person_sends_it_again(deliveries):
    for repetition in range(commitments.SENT_AGAIN_MOST + 1):
        deliveries.deliver("auto", repetition * 1e3)
        claim = deliveries.ask(repetition * 1e3)
        is_sent = deliveries.lacks(claim, {"1": 0x0110}, repetition * 1e3, 60.0)
        assert is_sent == (repetition < commitments.SENT_AGAIN_MOST)
    assert deliveries.node.delivery("1.2.3", "pacs")["state"] == "dead"
    with deliveries.ledger.transaction() as connection:
        assert outbox.revive(connection, "1.2.3", 1e4) == 1
    deliveries.deliver("auto", 1e4)
    assert deliveries.lacks(deliveries.ask(1e4), {"1": 0x0110}, 1e4, 60.0)


@pytest.mark.parametrize(
    ("before", "state", "after", "count", "now"),
    [
        ("none", None, "required", 1, "waiting"),
        ("auto", "stored", "required", 1, "waiting"),
        ("auto", "committed", "required", 0, "committed"),
        ("required", "unanswered", "auto", 1, "waiting"),
        ("required", "unanswered", "none", 0, "stored"),
        ("required", "unanswered", "required", 0, "unanswered"),
        ("auto", "asked", "auto", 0, "asked"),
    ],
)
def test_a_change_of_the_settings_asks_anew_for_what_is_not_committed(deliveries, before, state, after, count, now):
    deliveries.adopt({"pacs": before}, 0.0)
    deliveries.deliver(before)
    if state:
        with deliveries.ledger.transaction() as connection:
            connection.execute(update(database.commitment).values(state=state))
    assert deliveries.adopt({"pacs": after}, 5.0) == count
    assert deliveries.proof == now
    assert deliveries.is_purgeable() == (now in commitments.PROVED)


def test_a_destination_that_is_taken_out_holds_nothing_back_and_one_that_comes_back_is_asked(deliveries):
    deliveries.adopt({"pacs": "required"}, 0.0)
    deliveries.deliver("required")
    deliveries.adopt({"other": "auto"}, 1.0)
    assert deliveries.is_purgeable()
    assert deliveries.adopt({"pacs": "required"}, 2.0) == 1
    assert not deliveries.is_purgeable()


@pytest.mark.parametrize(("demand", "state"), [("auto", "stored"), ("required", "unanswered")])
def test_a_delivery_of_which_nothing_is_noted_proves_what_its_settings_say(deliveries, demand, state):
    deliveries.deliver(demand, slots=())
    assert deliveries.take_due("pacs", 1.0, 10, new_uid, PATIENCE) == ((), ())
    assert deliveries.proof == state


def test_what_was_given_up_is_asked_for_anew_by_hand(deliveries):
    deliveries.deliver("required", slots=())
    deliveries.take_due("pacs", 1.0, 10, new_uid, PATIENCE)
    assert [deliveries.ask_anew(uid, 2.0) for uid in ("1.2.4", "1.2.3")] == [0, 1]
    assert deliveries.ask_anew("", 2.0, "pacs") == 0
    assert deliveries.proof == "waiting"
