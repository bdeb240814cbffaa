"""What is refused, and that a refusal leaves nothing behind; made from one good file, so it needs no shared data."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.sender import Part10, RawSender, read_part10
from tests.support.waiting import until

pytestmark = [pytest.mark.timeout(180), pytest.mark.filterwarnings("ignore:Invalid value for VR UI")]

STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"


@pytest.fixture
def good(factory) -> Part10:
    return read_part10(factory.study(views=1).files[0])


def another_instance(part: Part10) -> Part10:
    return replace(part, sop_instance_uid="1.2.3.4")


def another_class(part: Part10) -> Part10:
    return replace(part, sop_class_uid="1.2.840.10008.5.1.4.1.1.2")


def a_path_for_a_uid(part: Part10) -> Part10:
    return replace(part, sop_instance_uid="../../../../tmp/x")


def a_line_break_in_a_uid(part: Part10) -> Part10:
    return replace(part, sop_instance_uid="1.2.3\n4")


def no_study(part: Part10) -> Part10:
    """Rename (0020,000D) to an element nobody reads; explicit or implicit, little endian."""
    assert b"\x20\x00\x0d\x00" in part.dataset
    return replace(part, dataset=part.dataset.replace(b"\x20\x00\x0d\x00", b"\x20\x00\x0c\x00", 1))


def cut_in_a_header(part: Part10) -> Part10:
    return replace(part, dataset=part.dataset[:101])


def not_dicom(part: Part10) -> Part10:
    return replace(part, dataset=b"GET / HTTP/1.1\r\n\r\n" * 20)


def empty(part: Part10) -> Part10:
    return replace(part, dataset=b"")


@pytest.mark.parametrize(
    ("spoil", "statuses"),
    [
        (another_instance, {0xA900}),
        (another_class, {0xA900}),
        (a_path_for_a_uid, {0xA900, 0xC000}),
        (a_line_break_in_a_uid, {0xA900, 0xC000}),
        (no_study, {0xC000}),
        (cut_in_a_header, {0xC000}),
        (not_dicom, {0xC000}),
        (empty, {0xA900, 0xC000, None}),  # pynetdicom may end the association over a command without a data set
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_spoilt_instance_is_refused_and_not_listed(system, factory, spoil, statuses):
    good = next(
        part
        for part in (read_part10(factory.study(views=1).files[0]) for _ in range(50))
        if part.transfer_syntax_uid in {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1"}
    )
    bad = spoil(good)
    before = len(system.node.instances())
    sender = RawSender(system.node.port, timeout_s=3 if None in statuses else 60)
    try:
        answer = sender.send_part10(bad)
    finally:
        sender.close()
    assert answer.status in statuses, str(answer)
    assert len(system.node.instances()) == before
    if answer.status is not None:
        event = system.node.events("instance.refused")[-1]
        assert event["reason"]
        assert "\n" not in event["sop_instance"]
        assert ".." not in event["sop_instance"]
    assert RawSender(system.node.port).send_part10(good).stored


def test_another_called_ae_title_is_rejected(system, good):
    assert RawSender(system.node.port, called="SOMEBODY").send_part10(good).outcome == "association rejected"


def test_a_class_that_is_no_storage_class_gets_no_context(system, good):
    bad = replace(good, sop_class_uid=STORAGE_COMMITMENT)
    assert RawSender(system.node.port).send_part10(bad).outcome == "context rejected"
    rejected = until(lambda: system.node.events("context.rejected"), 10, "it is logged")
    assert rejected[-1]["sop_class"] == STORAGE_COMMITMENT
