from __future__ import annotations

import contextlib
import csv
import io
import re
import warnings
from dataclasses import replace

import pydicom
import pytest
from pydicom.dataset import Dataset

from dicom_node.part10.writer import encode
from dicom_node.report.agreement import require_same_identity
from dicom_node.report.identity import (
    code_of,
    identify,
    items_of,
    referenced_requests,
    settle_character_set,
    text_of,
    timezone_of,
)
from dicom_node.report.package import compose
from tests.conformance import report_cases as cases

ODD = cases.odd_sources()
_TYPE_2 = "PatientName PatientID PatientBirthDate PatientSex AccessionNumber StudyID StudyDate StudyTime".split()  # noqa: SIM905


def odd(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return cases.header(**ODD[name])


def test_every_method_of_de_identification_is_kept():
    methods = ["Basic profile", "Clean graphics", "x" * 80]
    assert list(identify(cases.header(DeidentificationMethod=methods), cases.STUDY).DeidentificationMethod) == [
        *methods[:2],
        "x" * 64,
    ]


@pytest.mark.parametrize("name", ODD)
def test_type_2_attributes_are_always_there(name):
    made = identify(odd(name), cases.STUDY)
    for keyword in _TYPE_2:
        assert keyword in made, keyword
    assert made.StudyInstanceUID == cases.STUDY


@pytest.mark.parametrize(
    ("name", "keyword", "value"),
    [
        ("sex-u", "PatientSex", ""),
        ("broken-dates", "StudyDate", ""),
        ("broken-dates", "StudyTime", ""),
        ("broken-dates", "PatientBirthDate", ""),
        ("old-dates", "StudyDate", "20260314"),
        ("old-dates", "StudyTime", "101500"),
        ("overlong", "StudyDescription", "x" * 64),
        ("overlong", "ReferringPhysicianName", "y" * 64),
        ("control", "StudyDescription", "abc"),
        ("control", "PatientName", "Test^A"),
        ("timezone", "TimezoneOffsetFromUTC", "+0545"),
    ],
)
def test_odd_values_are_mended(name, keyword, value):
    assert str(identify(odd(name), cases.STUDY)[keyword].value or "") == value


def test_an_invalid_time_zone_is_left_out():
    assert "TimezoneOffsetFromUTC" not in identify(odd("bad-timezone"), cases.STUDY)


@pytest.mark.parametrize(("text", "hours"), [("-0330", -3.5), ("+1400", 14.0)])
def test_a_time_zone_is_read(text, hours):
    source = Dataset()
    source.TimezoneOffsetFromUTC = text
    zone = timezone_of(source)
    assert zone is not None
    assert zone.utcoffset(None).total_seconds() == hours * 3600


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("keyword", ["PatientID", "AccessionNumber", "StudyID"])
def test_identifiers_are_kept_whole(keyword):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = cases.header(**{keyword: "7" * 80})
    made = identify(source, cases.STUDY)
    assert made[keyword].value == "7" * 80
    assert pydicom.dcmread(io.BytesIO(encode(_filed(made))))[keyword].value == "7" * 80


def test_issuers_and_requests_are_copied():
    source = odd("request")
    made = identify(source, cases.STUDY)
    assert made.IssuerOfPatientID == "HOSPITAL"
    assert made.IssuerOfAccessionNumberSequence[0].UniversalEntityIDType == "ISO"
    assert made.IssuerOfPatientIDQualifiersSequence[0].UniversalEntityID == "1.2.3.4"
    (request,) = referenced_requests(source, cases.STUDY)
    assert (request.RequestedProcedureID, request.AccessionNumber) == ("RP1", "ACC1")
    assert request.RequestedProcedureCodeSequence[0].CodeValue == "36554-4"


def test_codes_that_are_none_are_mended_or_dropped():
    made = identify(odd("illegal-codes"), cases.STUDY)
    (patient,), (order,) = made.IssuerOfPatientIDQualifiersSequence, made.IssuerOfAccessionNumberSequence
    assert (patient.UniversalEntityID, patient.UniversalEntityIDType) == ("1.2.3.4", "ISO")
    assert "IdentifierTypeCode" not in patient
    assert order.LocalNamespaceEntityID == "RIS"
    assert "UniversalEntityID" not in order
    assert (made.PatientIdentityRemoved, made.DeidentificationMethod) == ("YES", "not stated by the source image")


def test_half_a_designator_is_dropped():
    assert "IssuerOfAccessionNumberSequence" not in identify(odd("odd-sequences"), cases.STUDY)


def test_retired_codes_are_not_written_on():
    assert code_of(items_of(odd("odd-sequences"), "ViewCodeSequence")) is None


@pytest.mark.parametrize(
    ("named", "name", "expected"),
    [
        (None, "Tester^Anna", None),
        ("ISO_IR 100", "Tester^Anna", "ISO_IR 100"),
        ("ISO_IR 100", "M\u00fcller^J\u00f6rg", "ISO_IR 100"),
        ("ISO_IR 100", "\u5f20^\u5c0f", "ISO_IR 192"),
        (None, "M\u00fcller^J\u00f6rg", "ISO_IR 192"),
        ("ISO_IR 999", "Tester^Anna", "ISO_IR 192"),
        ("GB18030", "Zhang^XiaoDong=\u5f20^\u5c0f\u4e1c", "GB18030"),
        ("ISO_IR 6", "Tester^Anna", None),
        ("ISO_IR 6", "M\u00fcller^J\u00f6rg", "ISO_IR 192"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=\u5c71\u7530", ["", "ISO 2022 IR 87"]),
        (["", "ISO 2022 IR 87"], "\u00d7", "ISO_IR 192"),
        (["ISO_IR 192", "ISO 2022 IR 87"], "\u5c71^\u7530", "ISO_IR 192"),
        (["ISO 2022 IR 6", "ISO 2022 IR 149"], "45\u00b0", "ISO_IR 192"),
    ],
)
def test_the_character_set_is_the_sources_where_it_fits(named, name, expected):
    source = Dataset()
    if named:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            source.SpecificCharacterSet = named
    made = Dataset()
    made.PatientName = name
    settle_character_set(made, source)
    assert made.get("SpecificCharacterSet") == expected


@pytest.fixture(scope="module")
def sources(shared_data):
    """Every file of the test data that pydicom reads, by name; the others are never received either."""
    found = {}
    listed = csv.DictReader((shared_data / "dicom" / "manifest.csv").open(encoding="utf-8"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for row in listed:
            with contextlib.suppress(
                pydicom.errors.InvalidDicomError, EOFError, ValueError, OSError, AttributeError, KeyError
            ):
                path = shared_data / "dicom" / row["file"]
                found[row["file"]] = pydicom.dcmread(path, stop_before_pixels=True, force=True)
    return found


_IDENTITY = """PatientName PatientID IssuerOfPatientID AccessionNumber StudyID StudyDescription
ReferringPhysicianName""".split()  # noqa: SIM905
_ISSUERS = ("IssuerOfAccessionNumberSequence", "IssuerOfPatientIDQualifiersSequence")
_DESIGNATOR = ("LocalNamespaceEntityID", "UniversalEntityID", "UniversalEntityIDType")


def unicode_of(dataset, keyword):
    """An attribute as pydicom decodes it; it leaves the escapes of ISO 2022 IR 58 in the text."""
    return re.sub(r"\x1b[ -/]+[0-~]|[\x00-\x1f]", "", str(dataset.get(keyword) or "")).strip()


def character_set(source):
    return str(source.get("SpecificCharacterSet", "none"))


@pytest.mark.filterwarnings("ignore")
def test_identity_survives_every_character_set(sources):
    for name, source in sources.items():
        made = identify(source, cases.STUDY)
        settle_character_set(made, source)
        back = pydicom.dcmread(io.BytesIO(encode(_filed(made))))
        for keyword in _IDENTITY:
            assert unicode_of(back, keyword) == unicode_of(source, keyword), (name, keyword)
        for keyword in _ISSUERS:
            if source.get(keyword):
                wanted, written = source[keyword][0], back[keyword][0]
                assert [unicode_of(written, n) for n in _DESIGNATOR] == [unicode_of(wanted, n) for n in _DESIGNATOR]
    assert len({character_set(source) for source in sources.values()}) >= 13


@pytest.mark.filterwarnings("ignore")
def test_no_real_file_stops_a_result_or_changes_its_patient(sources, tmp_path):
    """One file of each character set and modality, composed whole: every object says the source's identity."""
    chosen = {(character_set(source), text_of(source, "Modality")[:1]): source for source in sources.values()}
    for number, source in enumerate(chosen.values()):
        study = text_of(source, "StudyInstanceUID") or cases.STUDY
        view = cases.SourceView(source, cases.finding("1.2.3", cases.X), None, None)
        request = replace(cases.request(view), study_instance_uid=study)
        path = tmp_path / str(number)
        for made in compose(request):
            path.write_bytes(encode(made.dataset))
            require_same_identity(study, source, path)
    assert len(chosen) >= 30


def _filed(made):
    made.SOPClassUID, made.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "1.2.3"
    return made
