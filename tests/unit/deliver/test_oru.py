"""The HL7 copy, read back with two libraries that are not ours."""

from __future__ import annotations

import re
from dataclasses import replace

import hl7
import pytest
from hl7apy.parser import parse_message
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.core.errors import DestinationRefused
from dicom_node.deliver import oru
from dicom_node.destination_settings import Hl7Destination
from tests.support.brief import NARRATIVE, ODD, a_summary

ESCAPED = {"\\F\\": "|", "\\S\\": "^", "\\T\\": "&", "\\R\\": "~", "\\E\\": "\\"}

CONTROLS = r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+"


def made(charset="UNICODE UTF-8", priority="asap", **changes):
    destination = Hl7Destination(
        kind="hl7", name="ris", host="h", port=1, receiving_facility="A|B", charset=charset, positive_priority=priority
    )
    return oru.message(a_summary(**changes), destination, "DICOMNODE")


def read(message, charset="utf-8"):
    return hl7.parse(message.decode(charset))


def plain(text):
    out, rest = "", str(text)
    while rest:
        found = next((code for code in ESCAPED if rest.startswith(code)), rest[0])
        out, rest = out + ESCAPED.get(found, found), rest[len(found) :]
    return out


def test_the_message_has_the_structure_of_the_standard():
    parsed = parse_message(made().decode(), find_groups=True)
    assert parsed.validate()
    assert parsed.msh.msh_9.to_er7() == "ORU^R01^ORU_R01"


def test_patient_order_and_study_come_back_as_they_were_whatever_they_hold():
    message = read(made())
    pid, obr = message.segment("PID"), message.segment("OBR")
    assert (plain(pid[3][0][0][0]), plain(pid[3][0][3][0])) == ("P|1", "HOSP^A")
    names = [[plain(part[0]) for part in repetition] for repetition in pid[5]]
    assert names[0] == ["Müller", "O&A", "B", "III", "Dr.", "", "L", "A"]
    assert [name[0] for name in names] == ["Müller", "山田", "やまだ"]
    assert [name[-1] for name in names] == ["A", "I", "P"]
    assert plain(str(obr[2])) == "PL\\1"
    assert plain(str(obr[18])) == "ACC~1"
    assert plain(obr[4][0][1][0]) == "Wrist & hand"
    assert (str(obr[7]), str(obr[25])) == ("20261125101112", "P")
    assert str(message.segment("MSH")[18]) == "UNICODE UTF-8"


def test_findings_are_preliminary_observations_told_apart():
    rows = list(read(made()).segments("OBX"))
    assert {str(row[11]) for row in rows} == {"P"}
    assert len({(str(row[3]), str(row[4])) for row in rows}) == len(rows)
    assert (str(rows[0][5][0][0]), str(rows[0][8])) == ("52101004", "A")
    assert (str(rows[1][5]), str(rows[1][6][0][0])) == ("93.1", "%")
    assert plain(rows[2][5]) == NARRATIVE
    assert plain(rows[4][5]) == f"1.2.3.11: NOT ANALYSED; {ODD}"
    assert str(rows[5][5]) == "1.2.3"


@pytest.mark.parametrize(
    ("outcome", "asked", "said", "flag"),
    [
        ("positive", "asap", "A", "A"),
        ("positive", "stat", "S", "A"),
        ("negative", "stat", "R", ""),
        ("inconclusive", "stat", "R", ""),
        ("not-analysed", "stat", "R", ""),
    ],
)
def test_only_a_positive_result_asks_for_priority_and_none_is_called_normal(outcome, asked, said, flag):
    probability = None if outcome == "not-analysed" else 0.5
    message = read(made(priority=asked, outcome=outcome, probability=probability))
    first = next(iter(message.segments("OBX")))
    assert (str(message.segment("OBR")[5]), str(message.segment("TQ1")[9])) == (said, said)
    assert (str(first[8]) if len(first) > 8 else "") == flag


@pytest.mark.parametrize(("charset", "codec", "name"), [("8859/1", "latin-1", "Müller"), ("ASCII", "ascii", "M?ller")])
def test_what_a_character_set_cannot_say_becomes_a_question_mark(charset, codec, name):
    pid = read(made(charset=charset), codec).segment("PID")
    assert str(pid[5][0][0]) == name
    assert str(pid[5][1][0]) == "??"


@pytest.mark.parametrize("charset", ["8859/1", "ASCII"])
@pytest.mark.parametrize("changed", [{"patient_id": "P\u5c71"}, {"issuer": "\u5c71"}, {"accession_number": "A\u5c71"}])
def test_an_identifier_never_becomes_another_one(charset, changed):
    whole = a_summary()
    part = "order" if "accession_number" in changed else "patient"
    changes = {part: replace(getattr(whole, part), **changed)}
    with pytest.raises(DestinationRefused, match="UTF-8") as refused:
        made(charset=charset, **changes)
    assert "\u5c71" not in str(refused.value)
    assert "\u5c71".encode() in made(**changes)


def test_a_value_cannot_begin_a_segment_of_its_own():
    patient = replace(a_summary().patient, name="A\rOBX|1|ST|x\n", patient_id="1\x0b\x1c\r2")
    content = made(patient=patient)
    assert [line[:3] for line in content.split(b"\r")[:4]] == [b"MSH", b"PID", b"OBR", b"TQ1"]
    assert b"\x0b" not in content
    assert b"\x1c" not in content


def test_the_same_version_has_the_same_control_id_and_another_has_another():
    assert oru.control_id(a_summary()) == oru.control_id(a_summary())
    assert oru.control_id(a_summary()) != oru.control_id(a_summary(version=2))
    assert len(oru.control_id(a_summary())) == 20


@given(st.text(max_size=40))
def test_any_text_comes_back_with_its_control_characters_as_spaces(text):
    message = read(made(narrative=f"x{text}x", probability=None))
    rows = list(message.segments("OBX"))
    assert plain(rows[1][5]) == f"x{re.sub(CONTROLS, ' ', text)}x"
