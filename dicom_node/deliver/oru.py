"""A result as an HL7 v2.5.1 message ORU^R01: unsolicited, preliminary observations about a study.

What is said of the priority stands in OBR-5, where older systems look, and in TQ1-9, where the standard wants it.
"""

from __future__ import annotations

import hashlib
import re
from datetime import datetime
from typing import TYPE_CHECKING

from dicom_node.core.errors import DestinationRefused
from dicom_node.core.summary import CodeSummary
from dicom_node.deliver.brief import (
    FRACTURE,
    IMAGING_STUDY,
    IMPRESSION,
    PRESENCE,
    PROBABILITY,
    date_of,
    percent,
    priority,
    time_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dicom_node.core.summary import ResultSummary
    from dicom_node.destination_settings import Hl7Destination

ENCODINGS = {"UNICODE UTF-8": "utf-8", "8859/1": "iso8859-1", "ASCII": "ascii"}
_PRIORITIES = {"routine": "R", "asap": "A", "stat": "S"}  # table 0485
_PRELIMINARY = "P"
_STUDY_UID = CodeSummary("113014", "DCM", "DICOM Study")
_ALGORITHM = CodeSummary("111001", "DCM", "Algorithm Name")
_VIEW = CodeSummary("59776-5", "LN", "Procedure findings")
_NOT_ANALYSED = CodeSummary("not-analysed", "L", "Not analysed")
_ESCAPES = {"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\"}
_SPECIAL = re.compile(r"[\\|^&~]")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_SEXES = {"M", "F", "O"}


def escape(text: str) -> str:
    """Return text with the delimiters escaped (HL7 v2.5.1, 2.7); control characters become a space."""
    return _SPECIAL.sub(lambda found: _ESCAPES[found.group()], _CONTROLS.sub(" ", text))


def control_id(result: ResultSummary) -> str:
    """Return MSH-10: the same for each try of the same version, so that a receiver can tell a repetition."""
    name = f"{result.study.study_instance_uid}\x1f{result.version}\x1f{result.made_at}"
    return hashlib.sha256(name.encode()).hexdigest()[:20]


def message(result: ResultSummary, destination: Hl7Destination, sending_application: str) -> bytes:
    """Return the message in the destination's character set, its segments ended by carriage returns.

    Raises DestinationRefused where an identifier cannot be said in it: a question mark may make it another patient's.
    """
    _require_identifiers(result, destination)
    asked = _PRIORITIES[priority(result, destination.positive_priority)]
    segments = [
        _msh(result, destination, sending_application),
        _pid(result),
        _obr(result, asked),
        _segment("TQ1", {1: "1", 9: asked}),
        *_observations(result),
    ]
    return "".join(f"{segment}\r" for segment in segments).encode(ENCODINGS[destination.charset], errors="replace")


def _require_identifiers(result: ResultSummary, destination: Hl7Destination) -> None:
    patient, order = result.patient, result.order
    numbers = order.accession_number + order.placer_order_number + order.filler_order_number
    try:
        f"{patient.patient_id}{patient.issuer}{numbers}".encode(ENCODINGS[destination.charset])
    except UnicodeEncodeError as error:
        message = (
            f"{destination.name}: an identifier of this study cannot be said in {destination.charset}: "
            'set its charset to "UNICODE UTF-8"'
        )
        raise DestinationRefused(message) from error


def _msh(result: ResultSummary, destination: Hl7Destination, sending_application: str) -> str:
    fields = {
        2: escape(sending_application),
        3: escape(destination.sending_facility),
        4: escape(destination.receiving_application),
        5: escape(destination.receiving_facility),
        6: _moment(result.made_at),
        8: "ORU^R01^ORU_R01",
        9: control_id(result),
        10: "P",
        11: "2.5.1",
        17: destination.charset,
    }
    return _segment("MSH|^~\\&", fields, first=2)


def _pid(result: ResultSummary) -> str:
    patient = result.patient
    fields = {
        1: "1",
        3: _components(patient.patient_id, "", "", patient.issuer, "MR" if patient.patient_id else ""),
        5: _name(patient.name),
        7: date_of(patient.birth_date),
        8: patient.sex if patient.sex in _SEXES else "U",
    }
    return _segment("PID", fields)


def _obr(result: ResultSummary, asked: str) -> str:
    order, study = result.order, result.study
    accession = _components(order.accession_number, order.accession_issuer)
    fields = {
        1: "1",
        2: escape(order.placer_order_number),
        3: escape(order.filler_order_number) or accession,
        4: _coded(study.procedure or IMAGING_STUDY),
        5: asked,
        7: date_of(study.date) + (time_of(study.time) if date_of(study.date) else ""),
        18: escape(order.accession_number),
        22: _moment(result.made_at),
        24: "RAD",
        25: _PRELIMINARY,
    }
    return _segment("OBR", fields)


def _observations(result: ResultSummary) -> list[str]:
    """Return the OBX segments; only a positive result is flagged abnormal, none is ever called normal."""
    presence = PRESENCE.get(result.outcome, _NOT_ANALYSED)
    rows = [("CWE", FRACTURE, _coded(presence), "", "A" if result.outcome == "positive" else "")]
    if result.probability is not None:
        rows.append(("NM", PROBABILITY, f"{percent(result.probability):g}", "%^percent^UCUM", ""))
    rows.append(("TX", IMPRESSION, escape(result.narrative), "", ""))
    rows += [("TX", _VIEW, escape(f"{view.sop_instance_uid}: {view.words}"), "", "") for view in result.views]
    rows.append(("ST", _STUDY_UID, escape(result.study.study_instance_uid), "", ""))
    if result.algorithm is not None:
        name = f"{result.algorithm.name} {result.algorithm.version} ({result.algorithm.manufacturer})"
        rows.append(("ST", _ALGORITHM, escape(name), "", ""))
    seen: dict[str, int] = {}
    return [_obx(number, row, _sub_id(row[1], seen), result) for number, row in enumerate(rows, start=1)]


def _sub_id(code: CodeSummary, seen: dict[str, int]) -> str:
    """Return OBX-4, which tells observations of the same code apart."""
    seen[code.value] = seen.get(code.value, 0) + 1
    return str(seen[code.value])


def _obx(number: int, row: tuple[str, CodeSummary, str, str, str], sub_id: str, result: ResultSummary) -> str:
    kind, code, value, unit, flag = row
    made = _moment(result.made_at)
    fields = {
        1: str(number),
        2: kind,
        3: _coded(code),
        4: sub_id,
        5: value,
        6: unit,
        8: flag,
        11: _PRELIMINARY,
        14: made,
    }
    return _segment("OBX", fields)


def _segment(head: str, fields: dict[int, str], first: int = 1) -> str:
    """Return a segment with its fields at their numbers, ended after the last that is not empty."""
    last = max((number for number, value in fields.items() if value), default=first - 1)
    return "|".join([head, *(fields.get(number, "") for number in range(first, last + 1))])


def _components(*parts: str) -> str:
    return "^".join(escape(part) for part in parts).rstrip("^")


def _coded(code: CodeSummary) -> str:
    return _components(code.value, code.meaning, code.scheme)


def _name(name: str) -> str:
    """Return a DICOM person name as XPN: a repetition for each group, and HL7's order of suffix and prefix."""
    repetitions = []
    for group, kind in zip(name.split("="), ("A", "I", "P"), strict=False):
        family, given, middle, prefix, suffix = (*group.split("^"), "", "", "", "", "")[:5]
        if group.strip("^ "):
            repetitions.append(_components(family, given, middle, suffix, prefix, "", "L", kind))
    return "~".join(repetitions) or "^^^^^^U"  # PID-5 is required; U: the type of a name that is not known


def _moment(iso: str) -> str:
    return _hl7_time(datetime.fromisoformat(iso))


def _hl7_time(moment: datetime) -> str:
    return moment.strftime("%Y%m%d%H%M%S%z")


def components_of(segments: Sequence[str], name: str) -> list[str]:
    """Return the fields of the first segment of a name in a received message, none where there is no such segment."""
    separator = segments[0][3:4] if segments and segments[0].startswith("MSH") else "|"
    return next((line.split(separator) for line in segments if line.startswith(name + separator)), [])
