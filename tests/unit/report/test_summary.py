"""The result in brief, from the worker's hand to the messages that the node makes of it."""

from __future__ import annotations

import json

import pytest
from fhir.resources.R4B.bundle import Bundle
from hl7apy.parser import parse_message

from dicom_node.core.summary import SUMMARY_FILE
from dicom_node.deliver import oru
from dicom_node.deliver.brief import date_of, read_summary, time_of
from dicom_node.deliver.fhir_bundle import bundle
from dicom_node.destination_settings import Hl7Destination
from dicom_node.report.narrative import in_words
from dicom_node.report.summary import summary
from tests.conformance import report_cases as cases

RIS = Hl7Destination(kind="hl7", name="ris", host="h", port=1)
ODD = cases.odd_sources()
REQUESTS = cases.outcomes() | {
    name: cases.request(cases.view(cases.P, cases.header(**changes))) for name, changes in ODD.items()
}


@pytest.mark.parametrize("name", REQUESTS)
def test_every_outcome_and_every_odd_source_makes_valid_messages(tmp_path, name):
    request = REQUESTS[name]
    (tmp_path / SUMMARY_FILE).write_bytes(summary(request))
    found = read_summary(tmp_path)
    assert found.outcome == request.finding.outcome.value
    assert found.probability == request.finding.probability
    assert found.narrative == in_words(request.finding)
    assert [view.sop_instance_uid for view in found.views] == [v.sop_instance_uid for v in request.finding.views]
    reasons = [v.reason.code.value if v.reason else "" for v in request.finding.views]
    assert [view.reason_code for view in found.views] == reasons
    assert found.study.study_instance_uid == cases.STUDY
    assert Bundle.model_validate_json(json.dumps(bundle(found, "asap", transaction=True)))
    assert parse_message(oru.message(found, RIS, "NODE").decode(), find_groups=True).validate()


def test_names_are_unicode_and_the_same_request_gives_the_same_bytes():
    request = REQUESTS["latin"]
    assert summary(request) == summary(request)
    assert json.loads(summary(request))["patient"]["name"] == "Müller^Jörg"


def test_order_numbers_come_from_the_request():
    made = json.loads(summary(REQUESTS["request"]))
    assert made["patient"]["issuer"] == "HOSPITAL"
    assert made["order"]["accession_number"] == "ACC1"


@pytest.mark.parametrize(
    ("text", "date"), [("20261125", "20261125"), ("20261345", ""), ("2026", ""), ("", ""), ("2026112", "")]
)
def test_only_a_date_is_a_date(text, date):
    assert date_of(text) == date


@pytest.mark.parametrize(
    ("text", "time"), [("101112.5", "101112"), ("1011", "101100"), ("10", "100000"), ("2561", ""), ("", "")]
)
def test_only_a_time_is_a_time(text, time):
    assert time_of(text) == time
