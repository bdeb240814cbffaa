"""The grammar of an audit message (PS3.15 A.5.1), as a table: what each element has for attributes and children."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import xml.etree.ElementTree as ET

_ANY, _TOKEN, _UID, _NUMBER = r"(?s:.*)", r"\S(.*\S)?", r"[0-2](\.(0|[1-9][0-9]*))+", r"[0-9]+"
_MOMENT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"


@dataclass(frozen=True)
class Shape:
    """Attributes by name with their patterns, and the order of the children as a pattern over their names."""

    must: dict[str, str] = field(default_factory=dict)
    may: dict[str, str] = field(default_factory=dict)
    children: str = ""
    has_text: bool = False


_CODED = Shape({"csd-code": _TOKEN, "codeSystemName": _TOKEN, "originalText": _TOKEN}, {"displayName": _TOKEN})
SHAPES = {
    "AuditMessage": Shape(
        children="EventIdentification (ActiveParticipant )+AuditSourceIdentification "
        "(ParticipantObjectIdentification )*"
    ),
    "EventIdentification": Shape(
        {"EventDateTime": _MOMENT, "EventOutcomeIndicator": "0|4|8|12"},
        {"EventActionCode": "[CRUDE]"},
        "EventID (EventTypeCode )*(EventOutcomeDescription )?",
    ),
    "EventID": _CODED,
    "EventTypeCode": _CODED,
    "EventOutcomeDescription": Shape(has_text=True),
    "ActiveParticipant": Shape(
        {"UserID": _ANY, "UserIsRequestor": "true|false"},
        {
            "AlternativeUserID": _ANY,
            "UserName": _ANY,
            "NetworkAccessPointID": _TOKEN,
            "NetworkAccessPointTypeCode": "[1-5]",
        },
        "(RoleIDCode )*(MediaIdentifier )?",
    ),
    "RoleIDCode": _CODED,
    "AuditSourceIdentification": Shape(
        {"AuditSourceID": _TOKEN}, {"AuditEnterpriseSiteID": _TOKEN}, "(AuditSourceTypeCode )*"
    ),
    "AuditSourceTypeCode": Shape({"csd-code": "[1-9]"}),
    "ParticipantObjectIdentification": Shape(
        {"ParticipantObjectID": _TOKEN},
        {
            "ParticipantObjectTypeCode": "[1-4]",
            "ParticipantObjectTypeCodeRole": "[1-9]|1[0-9]|2[0-6]",
            "ParticipantObjectDataLifeCycle": "[1-9]|1[0-5]",
            "ParticipantObjectSensitivity": _TOKEN,
        },
        "ParticipantObjectIDTypeCode (ParticipantObjectName |ParticipantObjectQuery )"
        "(ParticipantObjectDetail )*(ParticipantObjectDescription )*",
    ),
    "ParticipantObjectIDTypeCode": _CODED,
    "ParticipantObjectName": Shape(has_text=True),
    "ParticipantObjectDetail": Shape({"type": _TOKEN, "value": _ANY}),
    "ParticipantObjectDescription": Shape(children="(MPPS )*(Accession )*(SOPClass )*"),
    "SOPClass": Shape({"NumberOfInstances": _NUMBER}, {"UID": _UID}, "(Instance )*"),
    "Instance": Shape({"UID": _UID}),
}


def flaws(element: ET.Element) -> list[str]:
    """Return what in a message is not as the grammar has it; nothing where all is."""
    shape = SHAPES.get(element.tag)
    if shape is None:
        return [f"{element.tag}: unknown"]
    known = shape.must | shape.may
    found = [f"{element.tag}: no {name}" for name in shape.must if name not in element.attrib]
    for name, value in element.attrib.items():
        if name not in known or not re.fullmatch(known[name], value):
            found.append(f"{element.tag}: {name}={value!r}")
    if not re.fullmatch(shape.children, "".join(f"{child.tag} " for child in element)):
        found.append(f"{element.tag}: {[child.tag for child in element]}")
    if not shape.has_text and (element.text or "").strip():
        found.append(f"{element.tag}: text")
    if element.tag == "ParticipantObjectDetail":
        base64.b64decode(element.attrib["value"], validate=True)
    return found + [flaw for child in element for flaw in flaws(child)]
