"""Reading what a server says about when to come back."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest

from dicom_node.deliver.web import _retry_after


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("120", 120.0), (" 5 ", 5.0), ("", 0.0), ("soon", 0.0), ("-3", 0.0), ("1e9", 0.0), ("999999999999", 3600.0)],
)
def test_seconds_are_read_bounded_and_nonsense_is_no_wait(value, seconds):
    assert _retry_after(value) == seconds


def test_a_date_is_the_time_until_then():
    assert 50.0 < _retry_after(formatdate(time.time() + 60.0, usegmt=True)) <= 60.0
    assert _retry_after(formatdate(time.time() - 60.0, usegmt=True)) == 0.0
