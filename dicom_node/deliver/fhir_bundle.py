"""A result as FHIR R4: one DiagnosticReport, an Observation of the study and of each view, and a Task for its priority.

Everything is preliminary. Patient, order and study are named by their identifiers, so that nothing of the server's is
overwritten; our own resources are updated in place by theirs, so that a version replaces the one before it.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from dicom_node.core.findings import NOT_ATTEMPTED
from dicom_node.core.identifiers import UID_ROOT, derived_uid
from dicom_node.deliver.brief import FRACTURE, IMAGING_STUDY, PRESENCE, PROBABILITY, date_of, percent, priority

if TYPE_CHECKING:
    from dicom_node.core.summary import CodeSummary, ResultSummary, ViewSummary
    from dicom_node.destination_settings import Priority

Resource = dict[str, Any]
_URI = "urn:ietf:rfc3986"
_HL7 = "http://terminology.hl7.org/CodeSystem"
_SYSTEMS = {
    "SCT": "http://snomed.info/sct",
    "LN": "http://loinc.org",
    "DCM": "http://dicom.nema.org/resources/ontology/DCM",
}
_INTERPRETATION = {
    "positive": ("POS", "Positive"),
    "negative": ("NEG", "Negative"),
    "inconclusive": ("IND", "Indeterminate"),
}
_NOT_ATTEMPTED = frozenset(code.value for code in NOT_ATTEMPTED)
_UNVERIFIED = "AI result, not verified by a physician."


def bundle(result: ResultSummary, positive_priority: Priority, *, transaction: bool) -> Resource:
    """Return a result as a Bundle: a transaction for a server, or a collection for a folder."""
    study = _observation(result)
    views = [_view_observation(result, view) for view in result.views]
    study["hasMember"] = [_link(view) for view in views]
    report = _report(result, [study, *views])
    resources = [report, study, *views]
    asked = priority(result, positive_priority)
    if asked != "routine" or result.version > 1:
        resources.append(_task(result, report, asked))
    return {
        "resourceType": "Bundle",
        "type": "transaction" if transaction else "collection",
        "timestamp": result.made_at,
        "entry": [_entry(resource, transaction=transaction) for resource in resources],
    }


def _entry(resource: Resource, *, transaction: bool) -> Resource:
    entry: Resource = {"fullUrl": _full_url(resource), "resource": resource}
    if transaction:
        wanted = quote(f"{_URI}|{resource['identifier'][0]['value']}", safe=":")
        entry["request"] = {"method": "PUT", "url": f"{resource['resourceType']}?identifier={wanted}"}
    return entry


def _report(result: ResultSummary, observations: list[Resource]) -> Resource:
    report = _resource("DiagnosticReport", result, "report") | {
        "status": "preliminary",
        "category": [_concept(f"{_HL7}/v2-0074", "RAD", "Radiology")],
        "code": _coded(result.study.procedure or IMAGING_STUDY),
        "imagingStudy": [_study_reference(result)],
        "result": [_link(observation) for observation in observations],
        "issued": result.made_at,
        "conclusion": result.narrative,
    }
    presence = PRESENCE.get(result.outcome)
    if presence is not None:
        report["conclusionCode"] = [_presence(presence)]
    return report | _context(result)


def _observation(result: ResultSummary) -> Resource:
    text = f"{result.narrative} {_UNVERIFIED}" if _UNVERIFIED not in result.narrative else result.narrative
    found = _finding(result.outcome, result.probability, result.reason_code)
    observation = _resource("Observation", result, "study") | _common(result) | found
    observation["note"] = [{"text": text}]
    return observation


def _view_observation(result: ResultSummary, view: ViewSummary) -> Resource:
    focus = {"identifier": {"system": "urn:dicom:uid", "value": f"urn:oid:{view.sop_instance_uid}"}, "display": "image"}
    found = _finding(view.outcome, view.probability, view.reason_code)
    observation = _resource("Observation", result, "view", view.sop_instance_uid) | _common(result) | found
    return observation | {"focus": [focus], "note": [{"text": f"{view.words}. {_UNVERIFIED}"}]}


def _common(result: ResultSummary) -> Resource:
    common: Resource = {
        "status": "preliminary",
        "category": [_concept(f"{_HL7}/observation-category", "imaging", "Imaging")],
        "code": _coded(FRACTURE),
        "issued": result.made_at,
        "derivedFrom": [_study_reference(result)],
    }
    if result.algorithm is not None:
        identifier = {"system": _URI, "value": f"urn:oid:{result.algorithm.device_uid}"}
        name = f"{result.algorithm.name} {result.algorithm.version}, {result.algorithm.manufacturer}"
        common["device"] = {"type": "Device", "identifier": identifier, "display": name}
    return common | _context(result)


def _finding(outcome: str, probability: float | None, reason_code: str) -> Resource:
    """Return the value of an observation; without an answer, the reason why there is none."""
    if outcome not in PRESENCE:
        code = ("not-performed", "Not Performed") if reason_code in _NOT_ATTEMPTED else ("error", "Error")
        return {"dataAbsentReason": _concept(f"{_HL7}/data-absent-reason", *code)}
    found: Resource = {
        "valueCodeableConcept": _coded(PRESENCE[outcome]),
        "interpretation": [_concept(f"{_HL7}/v3-ObservationInterpretation", *_INTERPRETATION[outcome])],
    }
    if probability is not None:
        quantity = {"value": percent(probability), "unit": "%", "system": "http://unitsofmeasure.org", "code": "%"}
        found["component"] = [{"code": _coded(PROBABILITY), "valueQuantity": quantity}]
    return found


def _task(result: ResultSummary, report: Resource, asked: str) -> Resource:
    """Return what asks a worklist for another order; a later version that asks for nothing withdraws it."""
    raised = asked != "routine"
    task = _resource("Task", result, "priority") | {
        "status": "requested" if raised else "cancelled",
        "intent": "proposal",
        "priority": asked,
        "code": {"text": "Reading priority"},
        "description": f"AI suspects a fracture: read this study {asked}. {_UNVERIFIED}"
        if raised
        else "No change of the reading priority is asked for.",
        "focus": _link(report),
        "authoredOn": result.made_at,
    }
    context = _context(result)
    return task | {"for": context["subject"]} | {name: context[name] for name in ("basedOn",) if name in context}


def _context(result: ResultSummary) -> Resource:
    """Return whom and which order and day a resource is about."""
    patient = result.patient
    subject: Resource = {"type": "Patient"}
    if patient.patient_id:  # no stand-in: every patient without an ID would be the same one
        identifier: Resource = {"type": _concept(f"{_HL7}/v2-0203", "MR", "Medical record number")}
        identifier |= {"value": patient.patient_id}
        subject["identifier"] = identifier | ({"assigner": {"display": patient.issuer}} if patient.issuer else {})
    if patient.name or not patient.patient_id:
        subject["display"] = patient.name or "patient without ID and name"
    context: Resource = {"subject": subject}
    if result.order.accession_number:
        accession: Resource = {"type": _concept(f"{_HL7}/v2-0203", "ACSN", "Accession ID")}
        accession |= {"value": result.order.accession_number}
        if result.order.accession_issuer:
            accession["assigner"] = {"display": result.order.accession_issuer}
        context["basedOn"] = [{"type": "ServiceRequest", "identifier": accession}]
    day = date_of(result.study.date)
    if day:
        context["effectiveDateTime"] = f"{day[:4]}-{day[4:6]}-{day[6:]}"
    return context


def _study_reference(result: ResultSummary) -> Resource:
    uid = f"urn:oid:{result.study.study_instance_uid}"
    return {"type": "ImagingStudy", "identifier": {"system": "urn:dicom:uid", "value": uid}}


def _resource(kind: str, result: ResultSummary, *names: str) -> Resource:
    """Return a resource with an identifier that is the same in every version of a study's result."""
    uid = derived_uid(result.study.study_instance_uid, "fhir", *names)
    return {"resourceType": kind, "identifier": [{"system": _URI, "value": f"urn:oid:{uid}"}]}


def _full_url(resource: Resource) -> str:
    number = str(resource["identifier"][0]["value"]).removeprefix(f"urn:oid:{UID_ROOT}")
    return f"urn:uuid:{uuid.UUID(int=int(number))}"


def _link(resource: Resource) -> Resource:
    return {"reference": _full_url(resource)}


def _coded(code: CodeSummary) -> Resource:
    coding = {"code": code.value, "display": code.meaning}
    known = _SYSTEMS.get(code.scheme)
    return {"coding": [coding | ({"system": known} if known else {})], "text": code.meaning}


def _presence(presence: CodeSummary) -> Resource:
    return {"coding": _coded(presence)["coding"], "text": f"{FRACTURE.meaning}: {presence.meaning}"}


def _concept(system: str, code: str, display: str) -> Resource:
    return {"coding": [{"system": system, "code": code, "display": display}]}
