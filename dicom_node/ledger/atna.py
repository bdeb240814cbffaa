"""Audit records as the XML messages that an audit record repository takes (PS3.15 A.5)."""

from __future__ import annotations

import base64
import xml.etree.ElementTree as ET  # only written with, never parsed
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dicom_node.ledger.audit import Record

_SUCCESS, _MINOR, _SERIOUS = "0", "4", "8"
_APPLICATION = ("110150", "Application")
_SOURCE, _DESTINATION = ("110153", "Source Role ID"), ("110152", "Destination Role ID")
_ACTIVITY, _LOG_USED = ("110100", "Application Activity"), ("110101", "Audit Log Used")
_ACCESSED, _TRANSFERRED = ("110103", "DICOM Instances Accessed"), ("110104", "DICOM Instances Transferred")
_DELETED, _ALERT = ("110105", "DICOM Study Deleted"), ("110113", "Security Alert")
_STUDY_UID = ("110180", "Study Instance UID")

_BY_HAND = ("110132", "Use of Restricted Function")

Code = tuple[str, str]


@dataclass(frozen=True, slots=True)
class _Event:
    """Which message a record makes: event ID and type, what was done, and how it went (PS3.15 A.5.3)."""

    identifier: Code
    action: str
    outcome: str = _SUCCESS
    kind: Code | None = None


_EVENTS = {
    "node.started": _Event(_ACTIVITY, "E", kind=("110120", "Application Start")),
    "node.stopped": _Event(_ACTIVITY, "E", kind=("110121", "Application Stop")),
    "audit.head": _Event(_LOG_USED, "R"),
    "audit.rewound": _Event(_ALERT, "E", _SERIOUS, ("110135", "Object Security Attributes Changed")),
    "configuration.changed": _Event(_ALERT, "E", kind=("110131", "Software Configuration")),
    "association.refused": _Event(_ALERT, "E", _MINOR, ("110126", "Node Authentication")),
    "instance.stored": _Event(_TRANSFERRED, "C"),
    "instance.conflict": _Event(_TRANSFERRED, "U", _MINOR),
    "instance.refused": _Event(_ALERT, "E", _MINOR, ("110132", "Use of Restricted Function")),
    "instance.damaged": _Event(_ALERT, "E", _SERIOUS, ("110135", "Object Security Attributes Changed")),
    "instance.unreadable": _Event(_ALERT, "E", _SERIOUS, ("110135", "Object Security Attributes Changed")),
    "file.set-aside": _Event(_ALERT, "E", _SERIOUS, ("110135", "Object Security Attributes Changed")),
    "image.analysed": _Event(_ACCESSED, "R"),
    "result.published": _Event(_ACCESSED, "C"),
    "result.failed": _Event(_ACCESSED, "C", _SERIOUS),
    "delivery.done": _Event(_TRANSFERRED, "C"),
    "delivery.dead": _Event(_TRANSFERRED, "C", _SERIOUS),
    # The standard has no message of storage commitment: the destination looked into what it has.
    "delivery.found": _Event(_ACCESSED, "R"),
    "commitment.granted": _Event(_ACCESSED, "R"),
    "commitment.failed": _Event(_ACCESSED, "R", _SERIOUS),
    "commitment.unanswered": _Event(_ACCESSED, "R", _MINOR),
    "study.purged": _Event(_DELETED, "D"),
    # By a person, or with what everything is dated by.
    "clock.stepped": _Event(_ALERT, "E", _MINOR, ("110131", "Software Configuration")),
    "ledger.restored": _Event(_ALERT, "E", _MINOR, ("110135", "Object Security Attributes Changed")),
    "node.paused": _Event(_ALERT, "E", kind=_BY_HAND),
    "node.reloaded": _Event(_ALERT, "E", kind=("110131", "Software Configuration")),
    "node.resumed": _Event(_ALERT, "E", kind=_BY_HAND),
    "queue.parked": _Event(_ALERT, "E", kind=_BY_HAND),
    "queue.retried": _Event(_ALERT, "E", kind=_BY_HAND),
    "queue.revived": _Event(_ALERT, "E", kind=_BY_HAND),
}

NOT_TOLD = frozenset(
    (
        "clock.gap",  # the node was off for long, most probably
        "commitment.asked",  # a question: its answer is told
        "commitment.not-offered",
        "commitment.postponed",
        "model.alert",  # of the machine, and nobody's access to anything
        "study.closed",
    )
)
"""Records of which no message is made: nobody saw, changed or moved anything of a patient."""


def message(record: Record, ae_title: str) -> bytes | None:
    """Return a record as an audit message from the node called `ae_title`; None where the standard has none for it."""
    event = _EVENTS.get(record.event)
    if event is None:
        return None
    facts = record.details()
    root = ET.Element("AuditMessage")
    _identify(root, record, event)
    _participants(root, event, facts, ae_title)
    source = ET.SubElement(root, "AuditSourceIdentification", AuditSourceID=ae_title)
    ET.SubElement(source, "AuditSourceTypeCode", {"csd-code": "4"})  # application server process
    _objects(root, record, event, facts)
    return bytes(ET.tostring(root, encoding="utf-8"))


def _identify(root: ET.Element, record: Record, event: _Event) -> None:
    moment = datetime.fromtimestamp(record.at, timezone.utc).isoformat(timespec="milliseconds")
    values = {
        "EventActionCode": event.action,
        "EventDateTime": moment.replace("+00:00", "Z"),
        "EventOutcomeIndicator": event.outcome,
    }
    element = ET.SubElement(root, "EventIdentification", values)
    _code(element, "EventID", event.identifier)
    if event.kind:
        _code(element, "EventTypeCode", event.kind)
    if record.detail and event.outcome != _SUCCESS:
        ET.SubElement(element, "EventOutcomeDescription").text = record.detail


def _participants(root: ET.Element, event: _Event, facts: dict[str, Any], ae_title: str) -> None:
    """Add who took part: for a transfer the two ends, with the sender as requestor; else the node itself."""
    sender, destination = facts.get("calling_ae"), facts.get("destination")
    if event.identifier == _TRANSFERRED:
        _participant(root, str(sender or ae_title), _SOURCE, requestor=True)
        _participant(root, str(destination or ae_title), _DESTINATION, requestor=False)
        return
    _participant(root, ae_title, _APPLICATION, requestor=not sender)
    if destination and event.identifier == _ACCESSED:
        _participant(root, str(destination), _DESTINATION, requestor=False)
    if sender:
        _participant(root, str(sender), _SOURCE, requestor=True, address=str(facts.get("peer", "")))


def _participant(root: ET.Element, user: str, role: Code, *, requestor: bool, address: str = "") -> None:
    values = {"UserID": user, "AlternativeUserID": f"AETITLES={user}", "UserIsRequestor": str(requestor).lower()}
    if address:
        values |= {"NetworkAccessPointID": address, "NetworkAccessPointTypeCode": "2"}
    _code(ET.SubElement(root, "ActiveParticipant", values), "RoleIDCode", role)


def _objects(root: ET.Element, record: Record, event: _Event, facts: dict[str, Any]) -> None:
    if record.study_instance_uid:
        study = _object(root, record.study_instance_uid, ("2", "3"), (_STUDY_UID, "DCM"), "study")
        uids = [record.sop_instance_uid] if record.sop_instance_uid else sorted(facts.get("outputs", ()))
        if uids:
            classed = {"UID": str(facts.get("sop_class", "")), "NumberOfInstances": str(len(uids))}
            described = ET.SubElement(study, "ParticipantObjectDescription")
            listed = ET.SubElement(described, "SOPClass", {k: v for k, v in classed.items() if v})
            for uid in uids:
                ET.SubElement(listed, "Instance", UID=uid)
    if facts.get("patient"):
        _object(root, facts["patient"], ("1", "1"), (("2", "Patient Number"), "RFC-3881"), "pseudonym")
    if not record.study_instance_uid and event.identifier in {_ALERT, _LOG_USED}:
        about = record.sop_instance_uid or "dicom-node:audit"
        name = "instance" if record.sop_instance_uid else "audit trail"
        element = _object(root, about, ("2", "13"), (("12", "URI"), "RFC-3881"), name)
        if record.detail:
            value = base64.b64encode(record.detail.encode()).decode()
            ET.SubElement(element, "ParticipantObjectDetail", type="Alert Description", value=value)


def _object(root: ET.Element, identifier: str, kind: tuple[str, str], code: tuple[Code, str], name: str) -> ET.Element:
    """Add an object; the schema wants a name, so that says what kind of thing it is, and never who."""
    values = {
        "ParticipantObjectID": identifier,
        "ParticipantObjectTypeCode": kind[0],
        "ParticipantObjectTypeCodeRole": kind[1],
    }
    element = ET.SubElement(root, "ParticipantObjectIdentification", values)
    _code(element, "ParticipantObjectIDTypeCode", *code)
    ET.SubElement(element, "ParticipantObjectName").text = name
    return element


def _code(parent: ET.Element, name: str, code: Code, system: str = "DCM") -> None:
    ET.SubElement(parent, name, {"csd-code": code[0], "codeSystemName": system, "originalText": code[1]})
