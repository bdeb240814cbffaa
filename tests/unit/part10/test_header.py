"""The bounded header scan: what it reads, and what it refuses without being harmed."""

from __future__ import annotations

import contextlib
import struct
import zlib
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from dicom_node.core.errors import MalformedDataSet
from dicom_node.part10 import header
from dicom_node.part10.header import DEFLATED, EXPLICIT_BIG, IMPLICIT_LITTLE, scan

EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
SQ_UNDEFINED = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff"
ITEM_UNDEFINED = b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
ITEM_EMPTY = b"\xfe\xff\x00\xe0\0\0\0\0"
ITEM_END = b"\xfe\xff\x0d\xe0\0\0\0\0"
SQ_END = b"\xfe\xff\xdd\xe0\0\0\0\0"


def a_radiograph() -> Dataset:
    ds = Dataset()
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    ds.SOPInstanceUID = "1.2.3.4"
    ds.Modality = "CR"
    ds.Manufacturer = "Acme"
    ds.PatientName = "Secret^Name"
    ds.BodyPartExamined = "HAND"
    ds.StudyInstanceUID = "1.2.3"
    ds.SeriesInstanceUID = "1.2.3.1"
    inner = Dataset()
    inner.CodeValue = "1"
    ds.ProcedureCodeSequence = [inner]
    ds.add_new(0x7FE00010, "OW", b"\0\1" * 8)
    return ds


def encoded(ds: Dataset, *, implicit: bool = False, little: bool = True) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = implicit, little
    write_dataset(buffer, ds)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("syntax", "data"),
    [
        (EXPLICIT_LITTLE, encoded(a_radiograph())),
        (IMPLICIT_LITTLE, encoded(a_radiograph(), implicit=True)),
        (EXPLICIT_BIG, encoded(a_radiograph(), little=False)),
    ],
)
def test_reads_the_identifying_attributes_in_every_encoding(syntax, data):
    found = scan(data, syntax)
    assert found.sop_instance_uid == "1.2.3.4"
    assert found.study_instance_uid == "1.2.3"
    assert (found.modality, found.body_part, found.manufacturer) == ("CR", "HAND", "Acme")
    assert found.has_pixel_data


def test_inflates_a_deflated_data_set():
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    data = compressor.compress(encoded(a_radiograph())) + compressor.flush()
    assert scan(data, DEFLATED).sop_instance_uid == "1.2.3.4"


def test_stops_inflating_a_bomb_at_the_bound(monkeypatch):
    monkeypatch.setattr(header, "MAX_INFLATED", 1 << 20)
    compressor = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    bomb = compressor.compress(bytes(64 << 20)) + compressor.flush()
    with pytest.raises(MalformedDataSet, match="grows beyond"):
        scan(bomb, DEFLATED)


@pytest.mark.parametrize("depth", [65, 1_000, 20_000])
def test_c23_refuses_nesting_beyond_64(depth):
    with pytest.raises(MalformedDataSet, match="nested deeper"):
        scan((SQ_UNDEFINED + ITEM_UNDEFINED) * depth, EXPLICIT_LITTLE)


def test_accepts_nesting_of_64():
    data = (SQ_UNDEFINED + ITEM_UNDEFINED) * 64 + (ITEM_END + SQ_END) * 64
    assert scan(data, EXPLICIT_LITTLE).sop_instance_uid == ""


def test_c25_refuses_a_million_items_and_a_million_elements():
    with pytest.raises(MalformedDataSet, match="items"):
        scan(SQ_UNDEFINED + ITEM_EMPTY * 1_000_000, EXPLICIT_LITTLE)
    with pytest.raises(MalformedDataSet, match="elements"):
        scan(b"\x08\x00\x60\x00CS\0\0" * 1_000_000, EXPLICIT_LITTLE)


def test_c22_refuses_an_element_longer_than_the_data_set():
    data = b"\xe0\x7f\x10\x00OW\0\0" + struct.pack("<L", 0x7FFFFFFF) + b"short"
    with pytest.raises(MalformedDataSet, match="longer than what holds it"):
        scan(data, EXPLICIT_LITTLE)


def test_un_of_undefined_length_is_implicit_little_endian_even_in_big_endian():
    inner = b"\x08\x00\x00\x01\x02\x00\x00\x00AB"
    unknown = b"\x00\x09\x10\x01UN\0\0\xff\xff\xff\xff" + ITEM_UNDEFINED + inner + ITEM_END + SQ_END
    after = b"\x00\x20\x00\x0dUI\x00\x061.2.3\0"
    assert scan(unknown + after, EXPLICIT_BIG).study_instance_uid == "1.2.3"


def test_encapsulated_pixels_may_lack_their_last_delimiter():
    data = b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff" + ITEM_EMPTY + b"\xfe\xff\x00\xe0\x04\0\0\0abcd"
    assert scan(data, "1.2.840.10008.1.2.4.50").has_pixel_data


def test_trailing_padding_is_let_by():
    assert scan(encoded(a_radiograph()) + b"\0" * 100, EXPLICIT_LITTLE).has_pixel_data


@given(st.binary(max_size=400), st.sampled_from([EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED]))
def test_any_bytes_are_read_or_refused_and_never_raise_anything_else(data, syntax):
    with contextlib.suppress(MalformedDataSet):
        scan(data, syntax)


@given(st.integers(min_value=0, max_value=300), st.integers(min_value=0, max_value=255))
def test_one_changed_byte_is_read_or_refused(place, value):
    data = bytearray(encoded(a_radiograph()))
    data[place % len(data)] = value
    refused = ""
    try:
        scan(bytes(data), EXPLICIT_LITTLE)
    except MalformedDataSet as error:
        refused = str(error)
    assert "Secret" not in refused


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4), st.integers(0, 400))
def test_the_loop_over_plain_elements_finds_what_a_step_each_finds(changes, cut):
    data = bytearray(encoded(a_radiograph()))
    for place, value in changes:
        data[place % len(data)] = value
    whole = bytes(data[: len(data) - cut] if cut % 3 == 0 else data)
    with pytest.MonkeyPatch.context() as patch:
        found = _outcome(whole)
        patch.setattr(header._Walker, "plain", lambda _walker: iter(()))
        assert found == _outcome(whole)


def _outcome(data):
    try:
        return scan(data, EXPLICIT_LITTLE)
    except MalformedDataSet as error:
        return str(error)


def test_every_shared_file_is_read_or_refused(shared_data):
    pydicom = pytest.importorskip("pydicom")
    read = 0
    for path in sorted((shared_data / "dicom").iterdir()):
        raw = path.read_bytes()
        if raw[128:132] != b"DICM":
            continue
        file = BytesIO(raw)
        file.seek(132)
        meta = pydicom.filereader._read_file_meta_info(file)
        try:
            found = scan(raw[file.tell() :], str(meta.get("TransferSyntaxUID", IMPLICIT_LITTLE)))
        except MalformedDataSet:
            continue
        try:
            ds = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        except OSError:  # UN of undefined length in big endian: valid, and beyond pydicom
            assert "undefined_length" in path.name
            continue
        assert found.sop_instance_uid == str(ds.get("SOPInstanceUID", ""))
        read += 1
    assert read > 300
