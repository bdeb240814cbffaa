"""Requests and commands that lie about their lengths or leave out what they must hold (C5, C12)."""

from __future__ import annotations

import struct

import pytest

from dicom_node.dimse import command, pdu, status
from dicom_node.dimse.negotiation import Context, check_request
from dicom_node.dimse.services import Services
from tests.support.wire import CR, EXPLICIT, VERIFICATION, associate_rq, c_store_rq, context, item

APPLICATION = item(0x10, b"1.2.840.10008.3.1.1.1")
GOOD = APPLICATION + context(1, CR, (EXPLICIT,))


def request(items: bytes) -> bytes:
    return associate_rq(b"")[6:74] + items


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"\0\1", "too short"),
        (request(GOOD + b"\x20\0"), "ends inside its header"),
        (request(GOOD + b"\x20\0\xff\xff1"), "longer than what holds it"),
        (request(APPLICATION + item(0x20, b"\1\0")), "context is too short"),
        (request(APPLICATION + item(0x20, b"\1\0\0\0" + item(0x30, CR.encode()))), "no transfer syntax"),
        (request(APPLICATION + item(0x20, b"\1\0\0\0\x30\0\xff\xff")), "longer than what holds it"),
        (request(APPLICATION), "missing, too many or numbered twice"),
        (request(GOOD + context(1)), "numbered twice"),
        (request(GOOD + context(2)), "even number"),
        (request(APPLICATION + b"".join(context(n % 256) for n in range(1, 259, 2))), "too many"),
        (request(GOOD + item(0x50, item(0x51, b"\0\1"))), "four bytes"),
        (request(GOOD + item(0x50, item(0x54, b"\0\xff1.2"))), "role selection"),
        (request(GOOD + item(0x50, item(0x54, b"\0"))), "role selection"),
    ],
)
def test_c05_c12_a_request_that_lies_is_a_violation_and_says_which(body, said):
    with pytest.raises(pdu.ProtocolViolation, match=said):
        pdu.decode_request(body)


def test_c12_a_request_of_another_version_or_application_is_rejected_for_good():
    for changed, said in (({"version": 2}, "version"), ({"application": b"1.2.3"}, "application context")):
        read = pdu.decode_request(associate_rq(context(1), **changed)[6:])
        with pytest.raises(pdu.Rejection, match=said):
            check_request(read, "DICOMNODE")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\0\0\0", "inside an element's header"),
        (struct.pack("<HHL", 0, 0x100, 9) + b"\1\0", "less than it says"),
        (struct.pack("<HHL", 8, 0x100, 2) + b"\1\0", "else than group 0000"),
        (b"", "no command field"),
        (struct.pack("<HHL", 0, 0x100, 2) + b"\1\0", "no message ID"),
        (
            struct.pack("<HHL", 0, 0x100, 1) + b"\1" + c_store_rq("1.2.3")[12:30],
            "less than it says|no message ID|header",
        ),
    ],
)
def test_c12_a_command_that_is_none_is_a_violation(data, said):
    with pytest.raises(pdu.ProtocolViolation, match=said):
        command.decode(data)


def test_c33_each_operation_that_is_not_for_its_context_has_its_status():
    def never(_request: object) -> object:
        raise AssertionError

    services = Services(never)  # type: ignore[arg-type]
    store = command.decode(c_store_rq("1.2.3"))
    without = command.decode(c_store_rq("1.2.3").replace(b"\0\x08\2\0\0\0\0\0", b"\0\x08\2\0\0\0\1\1"))
    answers = [
        services.taker(store, Context(VERIFICATION, EXPLICIT), "PEER", "127.0.0.1").finish(),
        services.taker(without, Context(CR, EXPLICIT), "PEER", "127.0.0.1").finish(),
    ]
    assert [answer[0] for answer in answers] == [status.CLASS_NOT_SUPPORTED, status.CANNOT_UNDERSTAND]
