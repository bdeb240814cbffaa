"""Odd and hostile content of data sets at reception: kept as it came, or refused with the status that says why."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset

from dicom_node.core.errors import Rejected
from dicom_node.ledger.instances import Recorded
from dicom_node.ledger.overview import Overview
from dicom_node.part10.preface import preface
from tests.unit.intake.test_accept import accept, files, folders, intake, received, rings  # noqa: F401
from tests.unit.part10.test_bombs import DATA_SETS, error_text_bomb
from tests.unit.part10.test_header import EXPLICIT_LITTLE, a_radiograph, encoded

pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR")

NAMES = {
    "unknown set": (b"ISO_IR 999", b"M\xfcller^J\xf6rg"),
    "no set, eight bits": (b"", b"M\xfcller^J\xf6rg"),
    "japanese": (b"\\ISO 2022 IR 87", b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B"),
    "escape without end": (b"\\ISO 2022 IR 149", b"Hong^\x1b$)C\xfb"),
    "not utf-8": (b"ISO_IR 192", b"\xff\xfe\xc3^\x80"),
    "three sets": (b"ISO 2022 IR 6\\ISO 2022 IR 100\\ISO 2022 IR 58", b"\x1b-A\xfc^\x1b$)A"),
    "set of control characters": (b"\x1b\x1b\0\n", b"Doe^John"),
}


def element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    padded = value + b" " * (len(value) % 2)
    head = group.to_bytes(2, "little") + number.to_bytes(2, "little") + vr
    return head + len(padded).to_bytes(2, "little") + padded


@pytest.mark.parametrize("name", NAMES)
def test_c32_any_character_set_is_received_and_its_bytes_are_kept(intake, folders, name):  # noqa: F811
    charset, patient = NAMES[name]
    ds = a_radiograph()
    del ds.PatientName
    plain = encoded(ds)
    at = plain.index(b"\x08\0\x16\0UI")
    before, after = plain[:at], plain[at:]
    end = after.index(b"\x18\0\x15\0CS")
    name_element = element(0x10, 0x10, b"PN", patient)
    data = before + element(8, 5, b"CS", charset) + after[:end] + name_element + after[end:]
    assert accept(intake, received(data)) is Recorded.NEW
    (file,) = files(folders)
    assert file.read_bytes() == preface(received().sop_class_uid, "1.2.3.4", EXPLICIT_LITTLE) + data
    (row,) = Overview(folders.ledger).instances()
    assert row["role"] == "view"


def test_c24_an_error_text_bomb_is_received_without_its_values_being_read(intake, folders):  # noqa: F811
    ds = a_radiograph()
    data = encoded(ds)
    at = data.index(b"\x08\0\x60\0CS")
    assert accept(intake, received(data[:at] + error_text_bomb() + data[at:])) is Recorded.NEW
    (row,) = Overview(folders.ledger).instances()
    assert row["role"] == "view"


@pytest.mark.parametrize("name", [name for name, (_, refusal) in DATA_SETS.items() if refusal])
def test_c23_c25_what_the_scan_refuses_gets_0xc000_and_one_line_without_content(intake, folders, name):  # noqa: F811
    with pytest.raises(Rejected) as rejection:
        accept(intake, received(DATA_SETS[name][0]))
    assert rejection.value.status == 0xC000
    assert files(folders) == []
    (refusal,) = Overview(folders.ledger).refusals()
    assert len(refusal["detail"]) < 200


def small(sop_class: str, **more: object) -> Dataset:
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, "1.2.3.4"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.3", "1.2.3.1"
    for keyword, value in more.items():
        setattr(ds, keyword, value)
    return ds


@pytest.mark.parametrize(
    ("sop_class", "modality", "role"),
    [
        ("1.2.840.10008.5.1.4.1.1.11.1", "PR", "kept"),
        ("1.2.840.10008.5.1.4.1.1.88.33", "SR", "kept"),
        ("1.2.840.10008.5.1.4.1.1.104.1", "DOC", "kept"),
        ("1.2.840.10008.5.1.4.1.1.2", "CT", "kept"),
        ("1.2.840.10008.5.1.4.1.1.1.2", "MG", "kept"),
        ("1.2.840.10008.5.1.4.1.1.6.1", "US", "kept"),
        ("1.2.840.10008.5.1.4.1.1.1.1.1", "DX", "kept"),  # for processing
        ("1.2.840.10008.5.1.4.1.1.1", "CR", "view"),  # without pixels, which the decoder will say
    ],
)
def test_c33_c35_what_is_no_radiograph_is_kept_with_its_reason_and_never_queued(
    intake,  # noqa: F811
    folders,  # noqa: F811
    sop_class,
    modality,
    role,
):
    data = encoded(small(sop_class, Modality=modality))
    assert accept(intake, received(data, sop_class_uid=sop_class)) is Recorded.NEW
    (row,) = Overview(folders.ledger).instances()
    assert row["role"] == role
    if role == "kept":
        assert "not analysed" in str(dict(row))


def test_c20_other_bytes_under_a_known_uid_are_both_kept_and_the_conflict_is_told(intake, folders):  # noqa: F811
    other = a_radiograph()
    other.Manufacturer = "Other"
    assert accept(intake, received()) is Recorded.NEW
    assert accept(intake, received(encoded(other))) is not Recorded.DUPLICATE
    assert len(files(folders)) == 2
    assert [r.event for r in Overview(folders.ledger).trail()].count("instance.conflict") == 1


@pytest.mark.parametrize("head", [b"MZ\x90\0", b"\x7fELF", b"II*\0", b"#!/bin/sh\n"])
def test_c21_what_is_stored_begins_with_128_zero_bytes_and_cannot_be_run(intake, folders, head):  # noqa: F811
    """A preamble never goes over the wire; what looks like one is a broken data set."""
    with pytest.raises(Rejected):
        accept(intake, received(head.ljust(128, b"\0") + b"DICM" + encoded(a_radiograph())))
    accept(intake, received())
    (file,) = files(folders)
    assert file.read_bytes()[:132] == bytes(128) + b"DICM"
    assert file.stat().st_mode & 0o111 == 0
