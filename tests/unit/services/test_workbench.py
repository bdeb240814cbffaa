"""The worker's jobs, where they meet what a data set may do to them."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pydicom
import pytest
from structlog.testing import capture_logs

from dicom_node.core.errors import IdentityMismatch
from dicom_node.core.findings import Reason, ReasonCode, not_analysed
from dicom_node.ledger.spool import StateFolders, data_set_digest
from dicom_node.part10.writer import encode
from dicom_node.report.package import compose
from dicom_node.report.request import SR_LADDER
from dicom_node.services.messages import ComposeJob, Reference, ViewToCompose
from dicom_node.services.workbench import Workbench, _attributes, _header
from dicom_node.settings import NodeSettings, Settings
from tests.conformance import report_cases as cases


def test_a_header_that_cannot_be_read_is_said_and_its_uids_stand_in(tmp_path):
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(b"no DICOM file")
    with capture_logs() as events:
        header = _header(broken, "1.2.840.10008.5.1.4.1.1.1", "1.2.3.4", "1.2.3")
    assert (header.SOPClassUID, header.SOPInstanceUID, header.StudyInstanceUID) == (
        "1.2.840.10008.5.1.4.1.1.1",
        "1.2.3.4",
        "1.2.3",
    )
    assert [(event["event"], event["sop_instance"]) for event in events] == [("header.unreadable", "1.2.3.4")]


def test_case_c35_what_the_guard_judges_by_is_read_from_the_image_and_broken_values_are_absent():
    header = cases.header(PatientAge="012Y", PatientBirthDate="20140301", StudyDate="20260302", ViewPosition="AP")
    header.PresentationIntentType, header.BurnedInAnnotation = "FOR PROCESSING", "YES"
    header.ImageType = ["DERIVED", "SECONDARY"]
    view = _attributes(header, SimpleNamespace(modality="DX"))
    assert (view.patient_age, view.birth_date, view.study_date) == ("012Y", "20140301", "20260302")
    assert (view.view_position, view.presentation_intent, view.burned_in_annotation) == ("AP", "FOR PROCESSING", "YES")
    assert view.image_type == ("DERIVED", "SECONDARY")
    for keyword in ("PatientAge", "ImageType", "BurnedInAnnotation"):
        tag = pydicom.tag.Tag(keyword)
        header[tag] = pydicom.dataelem.RawDataElement(tag, "US", 3, b"abc", 0, False, True)  # noqa: FBT003 - a tuple
    view = _attributes(header, SimpleNamespace(modality="DX"))
    assert (view.patient_age, view.image_type, view.burned_in_annotation) == ("", ("",), "")
    assert view.birth_date == "20140301"


@pytest.fixture
def bench(tmp_path):
    folders = StateFolders(tmp_path)
    folders.create()
    model = SimpleNamespace(pipeline=None, bundle=None)
    bench = Workbench(Settings(node=NodeSettings(state_dir=tmp_path)), model)
    yield bench
    bench.close()


def stored(bench, *headers, before=()):
    """Return the job to compose a study of these images, which lie in the spool."""
    views = []
    for number, header in enumerate(headers):
        key = f"ab/{number}"
        path = bench._folders.instance_path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(header if isinstance(header, bytes) else encode(header))
        uid = f"1.2.{number}" if isinstance(header, bytes) else str(header.SOPInstanceUID)
        finding = not_analysed(uid, Reason(ReasonCode.NO_MODEL, "no model"))
        views.append(ViewToCompose(cases.DX, uid, key, finding, None))
    return ComposeJob(cases.STUDY, 1 + bool(before), 1e9, tuple(views), before, f"work/{len(before)}")


def test_a_study_is_composed_with_a_report_for_every_rung(bench):
    made = bench.compose(stored(bench, cases.header(1)))
    assert [item.slot for item in made.objects] == ["sc-1", "sc-1", "sr", "sr", "sr", "sr"]
    reports = [item for item in made.objects if item.slot == "sr"]
    assert [item.sop_class_uid for item in reports] == list(SR_LADDER)
    before = tuple(Reference(item.sop_class_uid, item.sop_instance_uid, item.series_instance_uid) for item in reports)
    job = stored(bench, cases.header(1), cases.header(2), before=before)
    later = bench.compose(job)
    assert not {item.sop_instance_uid for item in made.objects} & {item.sop_instance_uid for item in later.objects}
    for item, replaced in zip([item for item in later.objects if item.slot == "sr"], reports, strict=True):
        sr = pydicom.dcmread(bench._folders.root / job.folder / item.file)
        (series,) = sr.PredecessorDocumentsSequence[0].ReferencedSeriesSequence
        (reference,) = series.ReferencedSOPSequence
        assert reference.ReferencedSOPInstanceUID == replaced.sop_instance_uid
        assert reference.ReferencedSOPClassUID == sr.SOPClassUID == replaced.sop_class_uid


def test_c43_a_result_that_is_composed_again_is_the_same_objects(bench):
    job = stored(bench, cases.header(1), cases.header(2))
    first = bench.compose(job)
    again = bench.compose(replace(job, folder="work/again"))
    uids = [item.sop_instance_uid for item in first.objects]
    assert [item.sop_instance_uid for item in again.objects] == uids
    other = bench.compose(replace(job, version=2, folder="work/other"))
    assert not set(uids) & {item.sop_instance_uid for item in other.objects}


def test_images_of_two_patients_are_not_composed(bench):
    job = stored(bench, cases.header(1), cases.header(2, PatientID="PID-2"))
    with pytest.raises(IdentityMismatch, match=f"study {cases.STUDY}: its images disagree about PatientID"):
        bench.compose(job)


def test_an_image_without_a_readable_header_is_not_composed(bench):
    with pytest.raises(IdentityMismatch, match=r"the header of image 1\.2\.0 cannot be read"):
        bench.compose(stored(bench, b"no DICOM file"))


def test_an_image_whose_file_is_gone_is_to_be_sent_again(bench):
    job = stored(bench, cases.header(1))
    bench._folders.instance_path("ab/0").unlink()
    with pytest.raises(IdentityMismatch, match=r"the stored file of image .* is gone; send it again"):
        bench.compose(job)


def test_c38_a_file_that_changed_since_it_was_received_names_no_patient(bench):
    job = stored(bench, cases.header(1))
    path = bench._folders.instance_path("ab/0")
    size = path.stat().st_size - 200  # of some last part, which is enough for a digest
    view = replace(job.views[0], sha256=data_set_digest(path, size), size=size)
    job = replace(job, views=(view,))
    assert bench.compose(job).objects
    path.write_bytes(path.read_bytes().replace(b"PID-1", b"PID-7"))
    with pytest.raises(IdentityMismatch, match=r"the stored file of image .* is not what was received; send it again"):
        bench.compose(replace(job, folder="work/again"))


def test_what_was_written_is_read_again_before_it_is_handed_over(bench, monkeypatch):
    def spoilt(request):
        made = compose(request)
        made[-1].dataset.PatientID = "PID-9"
        return made

    monkeypatch.setattr("dicom_node.services.workbench.compose", spoilt)
    with pytest.raises(IdentityMismatch, match=r"PatientID of the written 006-sr-11\.dcm"):
        bench.compose(stored(bench, cases.header(1)))
