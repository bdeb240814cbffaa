"""What the node says of itself in the audit trail, start by start."""

from __future__ import annotations

import shutil
import threading

import pytest

from dicom_node.ledger.database import open_ledger
from dicom_node.ledger.overview import Overview
from dicom_node.services.auditing import Auditor, parse_head, read_heads
from dicom_node.services.software import Software
from dicom_node.settings import NodeSettings, Settings


class Life:
    """One start of a node on a state folder, and its end."""

    def __init__(self, folder, settings=None):
        self.folder = folder
        self.ledger = open_ledger(folder / "ledger.sqlite")
        self.refused = {}
        heads = folder / "audit-heads.jsonl"
        self.auditor = Auditor(self.ledger, heads, lambda: self.refused, lambda: 100.0, threading.Event())
        self.auditor.note_start(settings or Settings(), Software("1.0", "5" * 64), "bundle")

    def end(self):
        self.auditor.note_stop()
        self.ledger.close()


def events(folder):
    return [(record.event, record.detail) for record in Overview(folder / "ledger.sqlite").trail()]


def test_start_stop_and_changed_settings_are_told_and_unchanged_ones_are_not(tmp_path):
    Life(tmp_path).end()
    Life(tmp_path).end()
    Life(tmp_path, Settings(node=NodeSettings(port=104))).end()
    names = [event for event, _ in events(tmp_path)]
    life = ["node.started", "node.stopped"]
    assert names == ["configuration.changed", *life, *life, "configuration.changed", *life]
    assert ("configuration.changed", "changed: node.port") in events(tmp_path)


def test_c53_an_older_copy_of_the_ledger_is_noticed_at_the_start(tmp_path):
    Life(tmp_path).end()
    shutil.copy(tmp_path / "ledger.sqlite", tmp_path / "older")
    Life(tmp_path).end()
    (tmp_path / "older").replace(tmp_path / "ledger.sqlite")
    Life(tmp_path).end()
    assert [detail for event, detail in events(tmp_path) if event == "audit.rewound"] == [
        "the trail ends at record 3, but record 5 was noted: an older copy"
    ]


def test_the_hourly_head_is_a_record_of_its_own_and_is_written_down(tmp_path):
    life = Life(tmp_path)
    life.auditor.step()
    life.auditor.step()
    life.ledger.close()
    trail = list(Overview(tmp_path / "ledger.sqlite").trail())
    heads = read_heads(tmp_path / "audit-heads.jsonl")
    assert [(head.seq, head.hash) for head in heads] == [(r.seq, r.hash) for r in trail if r.event == "audit.head"]
    with (tmp_path / "audit-heads.jsonl").open("a") as file:
        file.write('{"at": 1, "he')
    assert read_heads(tmp_path / "audit-heads.jsonl") == heads, "a torn line is no head"


def test_refused_associations_are_told_once_however_many_there_were(tmp_path):
    life = Life(tmp_path)
    life.auditor.note_refusals()
    life.refused = {"peer": 3000}
    life.auditor.note_refusals()
    life.auditor.note_refusals()
    life.refused = {"peer": 3001, "address": 2}
    life.end()
    assert [detail for event, detail in events(tmp_path) if event == "association.refused"] == [
        "peer: 3000",
        "address: 2, peer: 1",
    ]


def test_what_is_no_head_is_refused():
    with pytest.raises(ValueError, match="SEQ:HASH"):
        parse_head("5:abc")
