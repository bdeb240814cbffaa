"""Everything that is no radiograph is taken, kept and listed with its reason, and changes no result."""

from __future__ import annotations

import pytest
from pydicom.uid import generate_uid

from tests.support import companions
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(300)


def test_companions_of_a_radiograph_are_kept_with_their_reason(system, factory, tmp_path):
    study = factory.study(views=1)
    files = {
        kind: companions.write(tmp_path, kind, study.study_instance_uid, study.patient_id, study.accession_number)
        for kind in companions.KINDS
    }
    for file in files.values():
        system.pacs.upload(file)
    system.upload(study)
    listed, _ = system.wait_result(study)

    def all_there() -> bool:
        return len(system.node.study(study.study_instance_uid)["instances"]) == len(files) + 1

    until(all_there, 60, "the node has the radiograph and all its companions")
    rows = {row["sop_instance_uid"]: row for row in system.node.study(study.study_instance_uid)["instances"]}
    for kind, file in files.items():
        row = rows[file.stem]
        wanted = "image-kind-out-of-scope" if kind.modality == "DX" else "modality-out-of-scope"
        assert (row["role"], row["reason_code"]) == ("kept", wanted), kind.name
        assert row["reason_text"].startswith("not analysed"), kind.name
    assert rows[study.sop_instance_uids[0]]["role"] == "view"
    system.settle()
    assert system.node.study(study.study_instance_uid)["versions"] == listed["versions"]
    assert listed["versions"][0]["views"] == [study.sop_instance_uids[0]]


def test_a_study_without_a_radiograph_closes_without_a_result_and_says_so(system, tmp_path):
    uid = str(generate_uid())
    for kind in companions.KINDS[:3]:
        system.pacs.upload(companions.write(tmp_path, kind, uid, "P-CT"))
    until(lambda: len(system.node.studies()) and uid in system.node.studies(), 60, "the study arrived")
    until(lambda: system.node.studies()[uid]["state"] == "closed", 60, "the study closed")

    listed = system.node.study(uid)
    assert (listed["versions"], listed["deliveries"]) == ([], [])
    assert any("no radiograph" in event["detail"] for event in listed["history"] if event["event"] == "study.closed")
    assert [dataset.Modality for dataset in system.pacs.datasets(uid, "SR")] == []


def test_the_commands_list_studies_and_instances(system, factory):
    """What the tests read from the ledger is what an operator reads from the commands."""
    study = factory.study(views=2)
    system.upload(study)
    system.wait_result(study)
    node, uid = system.node, study.study_instance_uid
    until(lambda: node.study(uid)["deliveries"][0]["proof"] == "committed", 60, "nothing more is to come")
    assert next(row for row in node.ask("studies") if row["study_instance_uid"] == uid) == node.studies()[uid]
    told = node.ask("studies", uid)
    assert all(len(version.pop("trace_id")) == 32 for version in told["versions"])  # the command's own
    assert told == node.study(uid)
    assert {row["sop_instance_uid"] for row in node.ask("instances")} >= set(study.sop_instance_uids)
