"""The only dciodvfy warnings a result may draw, each with its reason. There is no list of allowed errors."""

from __future__ import annotations

import re

ALLOWED = tuple(
    (re.compile(pattern), reason)
    for pattern, reason in (
        (
            r"CodingSchemeDesignator\(0008,0102\).*Unrecognized defined term = <99DCMNODE>",
            "outcome and reason have no standard code; the private scheme is identified in the object",
        ),
        (
            r"ContributingEquipmentSequence.*DeviceUID\(0018,1002\).*not present in standard DICOM IOD",
            "Device UID was added to Contributing Equipment (PS3.3 C.12.1.1.5) after this validator's tables",
        ),
        (
            r"(StudyDate|StudyTime|StudyID|PatientID)\(.*needed to build DICOMDIR",
            "empty in the source image; inventing one would be worse",
        ),
        (
            r"Laterality\(0020,0060\).*only permitted to be empty when actually unknown",
            "it is unknown: the source names no side, or the views name different ones",
        ),
        (
            r"(PatientName|ReferringPhysicianName)\(.*Retired Person Name form",
            "the source's name has no carets; it is copied as it stands",
        ),
        (
            r"BodyPartExamined\(0018,0015\).*Unrecognized defined term",
            "the source's own word, copied so that the series sorts with the images",
        ),
        (
            (
                r"(ProcedureCodeSequence|<\/ContentSequence\(0040,a730\)\[\d+\]/ConceptCodeSequence)"
                r".*CodingSchemeDesignator.*Unrecognized defined term"
            ),
            "the hospital's own procedure code, copied from the order",
        ),
        (
            r"PatientAge\(0010,1010\)",
            "copied from the source, which may disagree with its own birth date",
        ),
    )
)

#: The same for DCMTK's dsrdump.
ALLOWED_BY_DSRDUMP = (
    ("VR checker does not support this Specific Character Set", "DCMTK checks lengths in single-byte sets only"),
    ("Reading unknown/unsupported SpecificCharacterSet", "DCMTK reads no code extensions (ISO 2022) in reports"),
)
#: The same for DCMTK's dcmpschk.
ALLOWED_BY_DCMPSCHK = (
    ("Affected attribute: PatientName (0010,0010)", "it knows names of one component group only, not two or three"),
    ("patientName absent or empty", "type 2, and the source has no name"),
    ("Affected attribute: PatientBirthDate (0010,0030)", "the source's own, before the first year that it believes"),
)
#: The same for dcentvfy.
ALLOWED_BY_DCENTVFY = (
    (
        "Different information entities for attribute - Element=<AccessionNumber>",
        "its tables place Accession Number differently in images and in reports; the values are the same",
    ),
)


def unexplained_by_dcmpschk(lines: list[str]) -> list[str]:
    """Return the attributes that dcmpschk complains of and that are not on the list, and what it cannot read at all."""
    complaints = [line for line in lines if line.startswith("F:") or " absent" in line or "Affected attribute" in line]
    return [line for line in complaints if not any(known in line for known, _ in ALLOWED_BY_DCMPSCHK)]


def unexplained_by_dcentvfy(lines: list[str]) -> list[str]:
    """Return dcentvfy's complaints that are not on the list."""
    complaints = [line for line in lines if line.startswith(("Error", "Warning"))]
    return [line for line in complaints if not any(known in line for known, _ in ALLOWED_BY_DCENTVFY)]


def unexplained_by_dsrdump(lines: list[str]) -> list[str]:
    """Return dsrdump's complaints that are not on the list."""
    complaints = [line for line in lines if line.startswith(("E:", "F:", "W:"))]
    return [line for line in complaints if not any(known in line for known, _ in ALLOWED_BY_DSRDUMP)]


def unexplained(lines: list[str]) -> list[str]:
    """Return the validator's error lines, and its warnings that are not on the list."""
    return [
        line
        for line in lines
        if line.startswith("Error")
        or (line.startswith("Warning") and not any(pattern.search(line) for pattern, _ in ALLOWED))
    ]
