"""The FHIR copy, held against the published models of R4."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from fhir.resources.R4B.bundle import Bundle

from dicom_node.core.findings import Reason, ReasonCode
from dicom_node.deliver.fhir_bundle import bundle
from tests.support.brief import NARRATIVE, a_summary

OUTCOMES = {
    "positive": ("52101004", "POS"),
    "negative": ("272519000", "NEG"),
    "inconclusive": ("373068000", "IND"),
}


def made(**changes):
    """Return the resources of a bundle by their type, after the models have read it."""
    found = bundle(a_summary(**changes), "asap", transaction=True)
    read = Bundle.model_validate_json(json.dumps(found))
    assert len(read.entry) == len(found["entry"])
    resources = {}
    for entry in found["entry"]:
        resources.setdefault(entry["resource"]["resourceType"], []).append(entry["resource"])
    return resources


def test_a_positive_result_is_preliminary_whole_and_asks_for_its_priority():
    resources = made()
    (report,), (task,) = resources["DiagnosticReport"], resources["Task"]
    study, *views = resources["Observation"]
    assert {one["status"] for one in (report, study, *views)} == {"preliminary"}
    assert report["conclusion"] == NARRATIVE
    assert report["subject"]["identifier"]["value"] == "P|1"
    assert report["subject"]["identifier"]["assigner"] == {"display": "HOSP^A"}
    assert report["subject"]["display"] == "Müller^O&A^B^Dr.^III=山田^太郎=やまだ^たろう"
    assert report["basedOn"][0]["identifier"]["value"] == "ACC~1"
    assert report["imagingStudy"][0]["identifier"]["value"] == "urn:oid:1.2.3"
    assert report["effectiveDateTime"] == "2026-11-25"
    assert study["component"][0]["valueQuantity"]["value"] == 93.1
    assert "not verified by a physician" in study["note"][0]["text"]
    assert [view["focus"][0]["identifier"]["value"] for view in views] == ["urn:oid:1.2.3.10", "urn:oid:1.2.3.11"]
    assert "valueCodeableConcept" not in views[1]
    assert (task["status"], task["priority"], task["intent"]) == ("requested", "asap", "proposal")


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_each_outcome_has_its_code(outcome):
    study = made(outcome=outcome)["Observation"][0]
    code = study["valueCodeableConcept"]["coding"][0]["code"], study["interpretation"][0]["coding"][0]["code"]
    assert code == OUTCOMES[outcome]


@pytest.mark.parametrize("code", ReasonCode)
def test_no_answer_is_no_value_and_its_kind_is_said_as_in_the_report(code):
    whole = a_summary()
    view = replace(whole.views[1], reason_code=code.value)
    resources = made(outcome="not-analysed", probability=None, reason_code=code.value, views=(whole.views[0], view))
    study, _, other = resources["Observation"]
    absent = "error" if Reason(code, "").attempted else "not-performed"
    for observation in (study, other):
        assert observation["dataAbsentReason"]["coding"][0]["code"] == absent
        assert {"valueCodeableConcept", "interpretation", "component"} & observation.keys() == set()
    assert "conclusionCode" not in resources["DiagnosticReport"][0]
    assert "Task" not in resources


def test_a_later_version_updates_the_same_resources_and_withdraws_the_priority():
    first = bundle(a_summary(), "stat", transaction=True)
    second = bundle(a_summary(version=2, outcome="negative"), "stat", transaction=True)
    assert [e["request"]["url"] for e in first["entry"]] == [e["request"]["url"] for e in second["entry"]]
    assert first["entry"][0]["request"]["url"].startswith(
        "DiagnosticReport?identifier=urn:ietf:rfc3986%7Curn:oid:2.25."
    )
    tasks = [made_bundle["entry"][-1]["resource"] for made_bundle in (first, second)]
    assert [(task["status"], task["priority"]) for task in tasks] == [("requested", "stat"), ("cancelled", "routine")]


def test_every_reference_between_entries_resolves_and_a_collection_asks_for_nothing():
    found = bundle(a_summary(), "asap", transaction=False)
    names = {entry["fullUrl"] for entry in found["entry"]}
    text = json.dumps(found)
    assert text.count('"reference"') == text.count('{"reference": "urn:uuid:')
    report = found["entry"][0]["resource"]
    assert {link["reference"] for link in report["result"]} < names
    assert not any("request" in entry for entry in found["entry"])


def test_what_the_images_do_not_have_is_left_out():
    bare = a_summary()
    patient = replace(bare.patient, patient_id="", issuer="", name="")
    order = replace(bare.order, accession_number="")
    study = replace(bare.study, date="2026", procedure=None)
    report = made(patient=patient, order=order, study=study, algorithm=None)["DiagnosticReport"][0]
    assert {"basedOn", "effectiveDateTime"} & report.keys() == set()
    assert report["subject"] == {"type": "Patient", "display": "patient without ID and name"}
    assert report["code"]["coding"][0]["code"] == "18748-4"
