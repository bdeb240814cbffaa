"""Which transfer syntax is agreed on (C26: never the one in which a megabyte may stand for a gigabyte)."""

from __future__ import annotations

import pytest

from dicom_node.dimse import pdu
from dicom_node.dimse.negotiation import negotiate
from tests.support.wire import CR, EXPLICIT, associate_rq, context

DEFLATED = "1.2.840.10008.1.2.1.99"
JPEG = "1.2.840.10008.1.2.4.50"


@pytest.mark.parametrize(
    ("proposed", "result", "syntax"),
    [
        ((DEFLATED,), 4, None),
        ((DEFLATED, EXPLICIT), 0, EXPLICIT),
        ((EXPLICIT, DEFLATED), 0, EXPLICIT),
        ((DEFLATED, JPEG, EXPLICIT), 0, JPEG),
    ],
)
def test_c26_deflated_is_passed_over_and_refused_where_it_stands_alone(proposed, result, syntax):
    request = pdu.decode_request(associate_rq(context(1, CR, proposed))[6:])
    agreement = negotiate(request, None, takes_reports=False)
    assert agreement.answers[0].result == result
    assert {number: item.transfer_syntax for number, item in agreement.contexts.items()} == (
        {1: syntax} if syntax else {}
    )
