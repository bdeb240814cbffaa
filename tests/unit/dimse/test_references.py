"""Reports and matches are read as pydicom writes them, and nothing that comes instead can harm."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pynetdicom.dsutils import encode

from dicom_node.core.errors import MalformedDataSet
from dicom_node.dimse.commitment import Report, read_report
from dicom_node.dimse.references import EXPLICIT_LITTLE, IMPLICIT_LITTLE, SYNTAXES, read

CLASS = "1.2.840.10008.5.1.4.1.1.88.33"
SEQUENCES = frozenset({0x00081198, 0x00081199})


def said(syntax, *, undefined=False, deep=0):
    """Return an encoded report: 1.2.1 and 1.2.2 are committed, 1.2.3 is not there."""
    report = Dataset()
    report.TransactionUID = "2.25.7"
    report.RetrieveAETitle = "PACS"
    report.ReferencedSOPSequence = [reference("1.2.1"), reference("1.2.2")]
    report.FailedSOPSequence = [reference("1.2.3", 0x0112)]
    inner = report.ReferencedSOPSequence[0]
    for _ in range(deep):
        inner.PurposeOfReferenceCodeSequence = Sequence([Dataset()])
        inner["PurposeOfReferenceCodeSequence"].is_undefined_length = True
        inner = inner.PurposeOfReferenceCodeSequence[0]
    for element in report:
        element.is_undefined_length = undefined and element.VR == "SQ"
    data = encode(report, syntax == IMPLICIT_LITTLE, is_little_endian=True)
    assert data is not None
    return Report("1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1", 2, syntax, "PACS", data)


def reference(uid, reason=None):
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CLASS, uid
    if reason is not None:
        item.FailureReason = reason
    return item


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("deep", [0, 2])
def test_a_report_is_read_in_each_encoding(syntax, undefined, deep):
    outcome = read_report(said(syntax, undefined=undefined, deep=deep))
    assert outcome.transaction_uid == "2.25.7"
    assert outcome.committed == {"1.2.1", "1.2.2"}
    assert outcome.failed == {"1.2.3": 0x0112}


def test_c22_what_is_nested_deeper_than_any_report_is_refused():
    with pytest.raises(MalformedDataSet, match="deeper"):
        read_report(said(EXPLICIT_LITTLE, deep=6))
    bomb = b"\x08\x00\x99\x11\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 100_000
    with pytest.raises(MalformedDataSet, match="deeper"):
        read(bomb, IMPLICIT_LITTLE, SEQUENCES)


def test_another_transfer_syntax_is_refused():
    with pytest.raises(MalformedDataSet, match="not read here"):
        read(b"", "1.2.840.10008.1.2.2", SEQUENCES)


@given(st.sampled_from(SYNTAXES), st.integers(0, 400), st.binary(max_size=12), st.booleans())
@settings(max_examples=300, deadline=None)
def test_what_is_torn_or_changed_is_read_or_refused(syntax, where, change, cut):
    data = said(syntax, undefined=bool(where % 2)).dataset
    where %= len(data)
    changed = data[:where] + change + (b"" if cut else data[where + len(change) :])
    try:
        found = read(changed, syntax, SEQUENCES)
    except MalformedDataSet:
        return
    assert all(isinstance(value, bytes | list) for value in found.values())
