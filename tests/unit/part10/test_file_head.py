"""Finding the data set in a file that may hold anything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.core.errors import MalformedDataSet
from dicom_node.part10.file_head import split
from dicom_node.part10.writer import wrap

WHOLE = wrap(b"the data set", "1.2.840.10008.5.1.4.1.1.1", "1.2.3", "1.2.840.10008.1.2.4.70")


def test_the_data_set_begins_where_the_file_meta_information_ends():
    syntax, start = split(memoryview(WHOLE))
    assert (syntax, WHOLE[start:]) == ("1.2.840.10008.1.2.4.70", b"the data set")


@given(st.integers(0, len(WHOLE)), st.binary(max_size=60), st.integers(0, len(WHOLE)))
def test_whatever_a_crash_leaves_is_a_data_set_or_malformed(cut, noise, place):
    torn = WHOLE[:cut]
    torn = torn[:place] + noise + torn[place + len(noise) :]
    try:
        _, start = split(memoryview(torn))
    except MalformedDataSet:
        return
    assert start <= len(torn)


@pytest.mark.parametrize("size", [0, 131, 143, 200])
def test_a_file_that_ends_in_its_head_is_malformed(size):
    with pytest.raises(MalformedDataSet):
        split(memoryview(WHOLE[:size]))
