"""Which alternative of each slot goes, and what is said about the rest."""

from __future__ import annotations

import pytest

from dicom_node.core.errors import DestinationUnavailable
from dicom_node.deliver import ladder
from dicom_node.deliver.parcel import Offer
from dicom_node.dimse.scu import Outgoing
from tests.support.parcels import JPEG_LS, PR, RUNGS, SC, SR, write_result


@pytest.fixture
def offers(tmp_path):
    objects = write_result(tmp_path)
    return tuple(
        Offer(n, o.slot, Outgoing(o.sop_class_uid, o.sop_instance_uid, o.transfer_syntax_uid, tmp_path / o.file))
        for n, o in enumerate(objects)
    )


def taker(*classes, native_only=False):
    return lambda o: o.item.sop_class_uid in classes and not (native_only and o.item.transfer_syntax_uid == JPEG_LS)


def what(sent):
    return [(one.slot, one.position, one.status) for one in sent]


@pytest.mark.parametrize("number", range(4))
def test_each_slot_gets_its_first_accepted_alternative_in_sending_order(offers, number):
    takes = taker(SC, PR, *(SR + rung for rung in RUNGS[number:]))
    sent = ladder.climb(offers, takes, lambda _offer: 0)
    assert what(sent) == [("sc-1", 0, 0), ("pr-1", 2, 0), ("sr", 3 + number, 0)]
    assert ladder.judge(sent, "pacs").refused is None


def test_an_uncompressed_page_goes_where_the_compressed_one_is_not_taken(offers):
    assert what(ladder.climb(offers, taker(SC, native_only=True), lambda _offer: 0))[0] == ("sc-1", 1, 0)


@pytest.mark.parametrize("answer", [0x0122, 0xA900, 0xC000, 0xC123])
def test_a_refusing_answer_leads_one_rung_down_and_no_rung_is_tried_twice(offers, answer):
    tried = []

    def store(offer):
        tried.append(offer.position)
        return answer if offer.item.sop_class_uid in {SR + "34", SR + "33"} else 0

    sent = ladder.climb(offers, lambda _offer: True, store)
    assert tried == [0, 2, 3, 4, 5]
    assert what(sent)[-1] == ("sr", 5, 0)
    assert f"Comprehensive SR answered with 0x{answer:04X}" in sent[-1].note


def test_a_passing_failure_stops_at_once(offers):
    tried = []
    with pytest.raises(DestinationUnavailable, match="0xA700"):
        ladder.climb(offers, lambda _offer: True, lambda offer: tried.append(offer) or 0xA700)
    assert len(tried) == 1


@pytest.mark.parametrize("answer", [0x0000, 0xB000, 0xB007, 0x0111])
def test_warnings_and_duplicates_are_stored(offers, answer):
    receipt = ladder.judge(ladder.climb(offers, lambda _offer: True, lambda _offer: answer), "pacs")
    assert receipt.refused is None
    assert [one.status for one in receipt.slots] == [answer] * 3


@pytest.mark.parametrize(("classes", "has"), [((SC,), ["sc-1"]), ((SR + "11",), ["sr"]), ((SC, PR), ["sc-1", "pr-1"])])
def test_pages_alone_or_a_report_alone_are_a_delivery_and_what_is_missing_is_said(offers, classes, has):
    receipt = ladder.judge(ladder.climb(offers, taker(*classes), lambda _offer: 0), "pacs")
    assert receipt.refused is None
    assert [one.slot for one in receipt.slots if one.position is not None] == has
    assert {one.note for one in receipt.slots if one.position is None} == {"not accepted"}


@pytest.mark.parametrize("classes", [(), (PR,)])
def test_neither_pages_nor_report_is_refused(offers, classes):
    receipt = ladder.judge(ladder.climb(offers, taker(*classes), lambda _offer: 0), "pacs")
    assert receipt.refused == "pacs takes neither the report nor the heatmaps (not accepted): look at what it accepts"


def test_a_lasting_failure_of_the_report_is_for_a_person_and_the_pages_still_go(offers):
    def store(offer):
        return 0xC000 if offer.slot == "sr" else 0

    receipt = ladder.judge(ladder.climb(offers, lambda _offer: True, store), "pacs")
    assert what(receipt.slots) == [("sc-1", 0, 0), ("pr-1", 2, 0), ("sr", None, 0xC000)]
    assert "Basic Text SR answered with 0xC000" in str(receipt.refused)


def test_a_class_that_is_said_to_be_unsupported_is_no_failure_and_neither_is_a_presentation_state(offers):
    answers = {SC: 0, PR: 0xC000}
    sent = ladder.climb(offers, lambda _offer: True, lambda offer: answers.get(offer.item.sop_class_uid, 0x0122))
    assert ladder.judge(sent, "pacs").refused is None


@pytest.mark.parametrize(
    ("sr_class", "states", "left"),
    [
        ("auto", "auto", [0, 1, 2, 3, 4, 5, 6]),
        ("enhanced", "auto", [0, 1, 2, 5]),
        ("none", "none", [0, 1]),
        ("basic-text", "none", [0, 1, 6]),
    ],
)
def test_the_settings_of_a_destination_override(offers, sr_class, states, left):
    assert [offer.position for offer in ladder.wanted(offers, sr_class, states)] == left
