"""The audit messages of PS3.15 A.5, held against files that were looked at."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from pydicom.sr.codedict import codes

from dicom_node.ledger.atna import _EVENTS, message
from dicom_node.ledger.audit import Record

GOLDEN = Path(__file__).parent / "audit"
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


def test_what_the_standard_has_no_message_for_makes_none():
    assert message(_record("study.closed", STUDY, "", "", {}), "DICOMNODE") is None
