from __future__ import annotations

import warnings

import pydicom
import pytest
from pydicom.dataset import Dataset

from dicom_node.core.errors import IdentityMismatch, Permanent
from dicom_node.part10.writer import encode
from dicom_node.report.agreement import require_one_patient, require_same_identity
from dicom_node.report.package import compose
from tests.conformance import report_cases as cases


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PatientID", "PID-2"),
        ("PatientName", "Tester^Berta"),
        ("PatientName", "Tester^Anna=\u5c71\u7530"),
        ("PatientBirthDate", "19700103"),
        ("IssuerOfPatientID", "OTHER"),
    ],
)
def test_images_of_two_patients_give_no_result(keyword, value):
    first = cases.header(1, IssuerOfPatientID="HOSPITAL", PatientName="Tester^Anna=\u5c71\u672c")
    second = cases.header(2, **{"IssuerOfPatientID": "HOSPITAL", "PatientName": "Tester^Anna", keyword: value})
    with pytest.raises(IdentityMismatch, match=keyword) as error:
        require_one_patient(cases.STUDY, [cases.header(3), first, second])
    assert isinstance(error.value, Permanent)
    assert cases.STUDY in str(error.value)
    assert value not in str(error.value)
    assert "Tester" not in str(error.value)


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PatientID", ""),
        ("PatientID", " PID-1 "),
        ("PatientName", "TESTER^ANNA^^"),
        ("PatientName", "Tester^Anna=\u5c71\u7530^\u82b1=\u3084\u307e\u3060"),
        ("PatientName", None),
        ("PatientBirthDate", "1970.01.02"),
        ("PatientBirthDate", "unknown"),
    ],
)
def test_what_is_missing_or_only_written_otherwise_is_no_other_patient(keyword, value):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        require_one_patient(cases.STUDY, [cases.header(1), cases.header(2, **{keyword: value})])


def test_the_patient_comes_from_the_first_image_that_names_one():
    nameless = cases.view(cases.X, cases.header(1, PatientID="", PatientName=None))
    for made in compose(cases.request(nameless, cases.view(cases.X, cases.header(2)))):
        assert (made.dataset.PatientID, made.dataset.PatientName) == ("PID-1", "Tester^Anna")


@pytest.mark.parametrize("text", ["\\Hand", "Hand\\", "\\ Hand \\ two", "\\" + "x" * 80, "\\"])
@pytest.mark.parametrize("keyword", ["StudyDescription", "IssuerOfPatientID"])
def test_a_text_of_several_values_stops_no_result(tmp_path, keyword, text):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = cases.header(**{keyword: text})
    path = tmp_path / "001-sr.dcm"
    path.write_bytes(encode(compose(cases.request(cases.view(cases.X, source)))[-1].dataset))
    require_same_identity(cases.STUDY, source, path)


@pytest.fixture
def written(tmp_path):
    def write(**changes):
        made = cases.rungs(compose(cases.request(cases.view(cases.X))))[0].dataset
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for keyword, value in changes.items():
                setattr(made, keyword, value)
        path = tmp_path / "001-sr.dcm"
        path.write_bytes(encode(made))
        return path

    return write


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PatientID", "PID-"),
        ("PatientID", ""),
        ("PatientName", "Tester^Ann"),
        ("PatientName", "Tester"),
        ("PatientBirthDate", "19700103"),
        ("AccessionNumber", "ACC"),
        ("StudyID", "ST"),
        ("StudyDescription", "Right hand"),
        ("ReferringPhysicianName", "Refer^Rito"),
        ("StudyInstanceUID", "1.2.3"),
    ],
)
def test_an_object_that_says_another_identity_is_stopped(written, keyword, value):
    with pytest.raises(IdentityMismatch, match=keyword) as error:
        require_same_identity(cases.STUDY, cases.header(), written(**{keyword: value}))
    assert cases.STUDY in str(error.value)
    assert "Tester" not in str(error.value)


def test_bytes_of_another_character_set_are_stopped(written):
    source = cases.header(SpecificCharacterSet="ISO_IR 100", PatientName="M\u00fcller^J\u00f6rg")
    path = written(PatientName="M\u00fcller^J\u00f6rg", SpecificCharacterSet="ISO_IR 192")
    require_same_identity(cases.STUDY, source, path)
    path.write_bytes(path.read_bytes().replace(b"ISO_IR 192", b"ISO_IR 100"))
    with pytest.raises(IdentityMismatch, match="PatientName"):
        require_same_identity(cases.STUDY, source, path)


def test_an_identifier_that_cannot_be_read_stops_the_result(written):
    source = cases.header(PatientID=None)
    source.add(pydicom.DataElement("PatientID", "SQ", [Dataset()]))
    with pytest.raises(IdentityMismatch, match="PatientID"):
        require_same_identity(cases.STUDY, source, written(PatientID=""))
