"""The list of peers without a connection: who may come where nobody is listed."""

from __future__ import annotations

import pytest

from dicom_node.dimse.peers import AllowList


@pytest.mark.parametrize(
    ("address", "may_come"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("192.0.2.7", False),
        ("::ffff:192.0.2.7", False),
        ("fe80::1%eth0", False),
    ],
)
def test_c11_an_empty_list_lets_in_this_machine_and_nobody_else(address, may_come):
    assert AllowList(()).lists_address(address) is may_come
