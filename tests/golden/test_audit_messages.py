"""The audit messages of PS3.15 A.5, held against files that were looked at."""

from __future__ import annotations

import ast
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from pydicom.sr.codedict import codes

import dicom_node
from dicom_node.ledger.atna import _EVENTS, NOT_TOLD, message
from dicom_node.ledger.audit import Record
from tests.support.audit_schema import flaws

GOLDEN = Path(__file__).parent / "audit"
SOURCE = Path(dicom_node.__file__).parent
SUBJECTS = (
    "association|audit|clock|commitment|configuration|delivery|file|image|instance|ledger|model|node|queue|result|study"
)
EVENT = re.compile(rf"({SUBJECTS})\.[a-z]+(-[a-z]+)*")
OTHERS = re.compile(
    r".*\.(id|key|lock|sqlite.*)|node\.(peers|tls)|result\.dropped"
)  # columns, files, settings; a log's
STUDY, IMAGE, REPORT = "1.2.826.0.1.1", "1.2.826.0.1.1.1.1", "2.25.77"
CASES = {
    "start": ("node.started", "", "", "version 1", {}),
    "stop": ("node.stopped", "", "", "stopped in order", {}),
    "received": (
        "instance.stored",
        STUDY,
        IMAGE,
        "view",
        {"calling_ae": "PACS", "sop_class": "1.2.3", "patient": "ab12"},
    ),
    "refused": ("instance.refused", "", IMAGE, "0xA900: other UID", {"calling_ae": "PACS", "peer": "192.0.2.7"}),
    "rejected": ("association.refused", "", "", "peer: 3", {"refused": {"peer": 3}}),
    "analysed": ("image.analysed", STUDY, IMAGE, "", {"outcome": "positive"}),
    "published": ("result.published", STUDY, "", "version 1: positive", {"outputs": {REPORT: "sr"}}),
    "delivered": ("delivery.done", STUDY, "", "version 1 is at pacs", {"destination": "pacs"}),
    "committed": (
        "commitment.granted",
        STUDY,
        "",
        "version 1: 3 objects at pacs",
        {"version": 1, "destination": "pacs", "transaction_uid": "2.25.9"},
    ),
    "uncommitted": (
        "commitment.failed",
        STUDY,
        "",
        "version 1: pacs does not keep 1 of the objects (0x0112); sent again",
        {"version": 1, "destination": "pacs", "failed": {REPORT: "0x0112"}},
    ),
    "clock": ("clock.stepped", "", "", "the clock went back by 3600 s while the node ran", {"by_s": -3600.0}),
    "retried": ("queue.retried", "", "", "1 jobs, 2 deliveries, by a person", {}),
    "purged": ("study.purged", STUDY, "", "2 instances", {}),
    "head": ("audit.head", "", "", f"7:{'0' * 64}", {}),
}


def _record(event, study, instance, detail, facts):
    return Record(7, "0" * 64, 1764108000.25, event, study, instance, detail, json.dumps(facts), "f" * 64)


@pytest.mark.parametrize("name", CASES)
def test_a_message_is_the_one_that_was_looked_at(name):
    xml = message(_record(*CASES[name]), "DICOMNODE")
    assert xml is not None
    root = ET.fromstring(xml)  # noqa: S314 - our own bytes
    ET.indent(root)
    written = ET.tostring(root, encoding="unicode") + "\n"
    file = GOLDEN / f"{name}.xml"
    if not file.exists():
        file.write_text(written)
        pytest.fail(f"{file.name} was not there and is now: look at it")
    assert written == file.read_text()


def test_every_code_is_the_dictionary_s():
    known = {code.value: code.meaning for code in (getattr(codes.DCM, name) for name in codes.DCM.dir())}
    for event in _EVENTS.values():
        for code in filter(None, (event.identifier, event.kind)):
            assert known[code[0]] == code[1]


@pytest.mark.parametrize("study", ["", STUDY])
@pytest.mark.parametrize("event", sorted(_EVENTS))
def test_every_message_has_the_shape_of_the_standard_s_schema(event, study):
    every = {name: value for case in CASES.values() for name, value in case[4].items()}
    for facts in ({}, every):
        xml = message(_record(event, study, IMAGE if study else "", "why; <it> & that", facts), "DICOMNODE")
        root = ET.fromstring(xml)  # noqa: S314 - our own bytes
        assert flaws(root) == []
        assert sum(one.get("UserIsRequestor") == "true" for one in root.findall("ActiveParticipant")) == 1


def test_every_event_that_the_trail_may_hold_makes_a_message_or_is_named_as_one_that_makes_none():
    assert set(_EVENTS) & NOT_TOLD == set()
    assert written_events() == set(_EVENTS) | NOT_TOLD


def written_events() -> set[str]:
    """Return every name of an event in the parts that write the trail, but those that only the log has."""
    found = set()
    for path in (file for part in ("ledger", "services", "intake") for file in (SOURCE / part).glob("*.py")):
        if path.name in {"atna.py", "syslog.py"}:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        logged = {id(part) for call in calls if _is_log(call) for one in call.args for part in ast.walk(one)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in logged:
                found |= {node.value} if EVENT.fullmatch(node.value) and not OTHERS.fullmatch(node.value) else set()
    return found


def _is_log(call: ast.Call) -> bool:
    return (
        isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name) and call.func.value.id == "log"
    )


def test_what_the_standard_has_no_message_for_makes_none():
    assert message(_record("study.closed", STUDY, "", "", {}), "DICOMNODE") is None
