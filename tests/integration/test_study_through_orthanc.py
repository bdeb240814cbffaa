from __future__ import annotations

import pydicom
import pytest
from pydicom.uid import generate_uid

from tests.support import direct
from tests.support.system import delivered, result_problems
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(300)


def test_results_of_a_study_come_back_into_it(system, factory, bundle):
    study = factory.study(views=3)
    system.upload(study)
    listed, report = system.wait_result(study)

    assert result_problems(system, study) == []
    assert report.accession_number == study.accession_number
    assert report.patient_name == study.patient_name
    assert set(study.sop_instance_uids) <= report.views
    found = system.pacs.find("Study", AccessionNumber=study.accession_number)
    assert [s["MainDicomTags"]["StudyInstanceUID"] for s in found] == [study.study_instance_uid]

    expected = direct.analyse(bundle, study.files)
    assert report.outcome == expected.outcome == listed["versions"][0]["outcome"]
    assert report.probability == pytest.approx(expected.probability, abs=1e-3)


def test_the_pacs_promises_to_keep_the_results(system, factory):
    study = factory.study(views=1)
    system.upload(study)
    system.wait_result(study)
    uid = study.study_instance_uid
    until(lambda: system.node.study(uid)["deliveries"][0]["proof"] == "committed", 60, "Orthanc commits")
    (delivery,) = system.node.study(uid)["deliveries"]
    assert all(slot["committed_at"] for slot in delivery["slots"] if slot["sop_instance_uid"])
    told = [record["event"] for record in system.node.ask("audit", "show", uid)]
    assert told.index("delivery.done") < told.index("commitment.granted")


def test_a_late_view_makes_one_more_version_that_names_the_first(system, factory, bundle):
    study = factory.study(views=2)
    system.upload(study)
    _, first = system.wait_result(study)
    late = factory.later_view(study)
    system.pacs.upload(late)
    listed, second = system.wait_result(study, version=2)

    assert [version["version"] for version in listed["versions"]] == [1, 2]
    assert second.predecessors == (first.sop_instance_uid,)
    assert second.sop_instance_uid != first.sop_instance_uid
    expected = direct.analyse(bundle, [*study.files, late])
    assert (second.outcome, len(second.views & set(study.sop_instance_uids))) == (expected.outcome, 2)
    assert second.probability == pytest.approx(expected.probability, abs=1e-3)


def test_sending_the_same_bytes_again_makes_nothing_new(system, factory):
    study = factory.study(views=2)
    system.upload(study)
    before, report = system.wait_result(study)
    seen = len(system.node.events("instance.duplicate"))
    # As a PACS forwards them: what Orthanc sends is what Orthanc sent before, byte for byte.
    identifiers = [found["ID"] for found in system.pacs.find("Study", StudyInstanceUID=study.study_instance_uid)]
    system.pacs.post("/modalities/node/store", {"Resources": identifiers, "Synchronous": True})
    until(lambda: len(system.node.events("instance.duplicate")) >= seen + 2, 60, "both views are known already")
    system.settle()

    after = system.node.study(study.study_instance_uid)
    assert after["versions"] == before["versions"]
    assert result_problems(system, study) == []
    assert [r.sop_instance_uid for r in system.reports(study.study_instance_uid)] == [report.sop_instance_uid]


def test_a_pacs_that_forwards_the_results_back_makes_no_loop(naive_system, factory):
    study = factory.study(views=2)
    naive_system.upload(study)
    naive_system.wait_result(study)

    def returned() -> bool:
        listed = naive_system.node.study(study.study_instance_uid)
        own = {i["sop_instance_uid"] for i in listed["instances"] if i["role"] == "own-result"}
        return own == delivered(listed)

    until(returned, 60, "every result came back and was recognised")
    naive_system.settle()
    after = naive_system.node.study(study.study_instance_uid)
    roles = {i["sop_instance_uid"]: i["role"] for i in after["instances"]}
    assert {uid for uid, role in roles.items() if role == "view"} == set(study.sop_instance_uids)
    assert all(i["reason_code"] == "own-result" for i in after["instances"] if i["role"] == "own-result")
    assert result_problems(naive_system, study) == []


def test_the_check_itself_sees_what_is_lost_and_what_is_doubled(system, factory, tmp_path):
    """Everything here, and the benchmarks, rest on result_problems: it must not be content with anything."""
    study = factory.study(views=1)
    system.upload(study)
    system.wait_result(study)
    assert result_problems(system, study) == []

    (series,) = system.pacs.find("Series", StudyInstanceUID=study.study_instance_uid, Modality="SR")
    copy = tmp_path / "copy.dcm"
    copy.write_bytes(system.pacs.file(series["Instances"][0]))
    report = pydicom.dcmread(copy)
    report.SOPInstanceUID = generate_uid()
    report.save_as(copy)
    doubled = system.pacs.upload(copy)
    assert any("2 reports" in problem for problem in result_problems(system, study))
    for identifier in (doubled, series["Instances"][0]):
        system.pacs.delete(f"/instances/{identifier}")
    assert any("0 reports" in problem for problem in result_problems(system, study))
