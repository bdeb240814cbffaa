"""Whose study it is: patient, study and request attributes of a source image, cleaned of what may not be written.

Received values are read as they are and never trusted: an unreadable, overlong or illegal one becomes empty or shorter.
Identifiers (patient id, accession number, study id) are the exception: they are kept whole, since a shortened one would
name another patient.
"""

from __future__ import annotations

import re
import struct
import warnings
from contextlib import contextmanager
from datetime import date, datetime, timedelta, timezone
from typing import TYPE_CHECKING

from pydicom import config
from pydicom.charset import convert_encodings, decode_bytes, encode_string, python_encoding
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.sr.coding import Code
from pydicom.valuerep import PersonName

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

UTF8 = "ISO_IR 192"
#: Stand alone (PS3.3 C.12.1.1.2): beside another one, some readers take neither.
_WITHOUT_EXTENSIONS = {UTF8, "GB18030", "GBK"}
_DEFAULT_REPERTOIRE = {"", "ISO 2022 IR 6"}
#: What pydicom raises while it converts a received value.
_UNREADABLE = (
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    LookupError,
    NotImplementedError,
    OverflowError,
    struct.error,
)
#: Control characters, and whole ISO 2022 escape sequences that pydicom leaves behind (GB 2312, ISO 2022 IR 58).
_CONTROLS = re.compile(r"\x1b[\x20-\x2f]+[\x30-\x7e]|[\x00-\x1f\x7f-\x9f]")
#: The most characters that a value of a VR may have, in a PN each of its groups (PS3.5 6.2).
LONGEST = {"AE": 16, "CS": 16, "SH": 16, "LO": 64, "PN": 64, "ST": 1024, "LT": 10240}
#: After these a character set is back at its first one (PS3.5 6.1.2.5.3).
_DELIMITERS = {0x0D, 0x0A, 0x09, 0x0C}
_TEXT_VRS = {"LO", "LT", "PN", "SH", "ST", "UC", "UT"}
_DATE = re.compile(r"(\d{4})[.\-/]?(\d{2})[.\-/]?(\d{2})")
_TIME = re.compile(r"([01]\d|2[0-3])(?::?([0-5]\d)(?::?([0-5]\d|60)(?:\.(\d{1,6}))?)?)?")
_OFFSET = re.compile(r"([+-])(0\d|1[0-4])([0-5]\d)")
#: SNOMED RT in its old forms: must no longer be written (PS3.16 8.1.1), and nothing here translates it.
_RETIRED_SCHEMES = {"SRT", "SNM3", "99SDM"}
_AGE = re.compile(r"\d{3}[DWMY]")
_CODE_STRING = re.compile(r"[A-Z0-9_ ]{1,16}")
_UNSTATED = "not stated by the source image"
_VERBATIM = ("PatientID", "AccessionNumber", "StudyID")
_PLAIN = ("IssuerOfPatientID", "StudyDescription")
#: Present even when empty (type 2): the Patient and General Study modules (PS3.3 C.7.1.1, C.7.2.1).
_TYPE_2 = [
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
]
_ENTITY = ("LocalNamespaceEntityID", "UniversalEntityID", "UniversalEntityIDType")


@contextmanager
def unwarned() -> Iterator[None]:
    """Silence pydicom, which warns of each odd value that is read here to be mended."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def text_of(source: Dataset, keyword: str) -> str:
    """Return an attribute as text without control characters, empty where it is missing or cannot be read."""
    value = _value(source, keyword)
    if value is None or isinstance(value, Sequence):
        return ""
    if isinstance(value, bytes):
        value = value.decode("ascii", errors="replace")
    parts = value if isinstance(value, MultiValue | list | tuple) else [value]
    return _CONTROLS.sub("", "\\".join(str(part) for part in parts)).strip()


def is_unreadable(source: Dataset, keyword: str) -> bool:
    """Tell whether an attribute holds something that is no text."""
    return keyword in source and not text_of(source, keyword) and _holds_bytes(source, keyword)


def printable(text: str) -> str:
    """Return words of our own or of a bundle as they may be written: no control character, no half a character."""
    return _CONTROLS.sub(" ", text).encode("utf-8", errors="replace").decode().strip()


def code_string(source: Dataset, keyword: str) -> str:
    """Return a code string in capitals, empty where it is not one (PS3.5 6.2, CS)."""
    value = text_of(source, keyword).split("\\")[0].upper().strip()
    return value if _CODE_STRING.fullmatch(value) else ""


def items_of(source: Dataset, keyword: str) -> list[Dataset]:
    """Return the items of a sequence, none where it is missing or is not one."""
    value = _value(source, keyword)
    return [item for item in value if isinstance(item, Dataset)] if isinstance(value, Sequence) else []


def code_of(items: Iterable[Dataset]) -> Code | None:
    """Return the first complete code of a code sequence."""
    for item in items:
        value = text_of(item, "CodeValue") or text_of(item, "LongCodeValue")
        scheme, meaning = text_of(item, "CodingSchemeDesignator"), text_of(item, "CodeMeaning")
        if value and scheme and meaning and "\\" not in value + scheme and scheme not in _RETIRED_SCHEMES:
            return Code(value, scheme[: LONGEST["SH"]], meaning[: LONGEST["LO"]])
    return None


def timezone_of(source: Dataset) -> timezone | None:
    """Return the source's Timezone Offset From UTC (0008,0201), None where it has no valid one."""
    found = _OFFSET.fullmatch(text_of(source, "TimezoneOffsetFromUTC"))
    if found is None:
        return None
    minutes = int(found[2]) * 60 + int(found[3])
    return timezone(timedelta(minutes=-minutes if found[1] == "-" else minutes))


def identify(source: Dataset, study_instance_uid: str) -> Dataset:
    """Return the patient, study and request attributes that every object of a result carries."""
    with unwarned():
        result = Dataset()
        for keyword, value in _texts(source):
            if value or keyword in _TYPE_2:
                put(result, keyword, value)
        result.StudyInstanceUID = study_instance_uid
        for keyword, items in _sequences(source):
            if items:
                put(result, keyword, items)
        return result


def referenced_requests(source: Dataset, study_instance_uid: str) -> list[Dataset]:
    """Return the items of Referenced Request Sequence (PS3.3 C.17.2), one per request the image was made for."""
    with unwarned():
        return [_request(source, item, study_instance_uid) for item in items_of(source, "RequestAttributesSequence")]


def settle_character_set(dataset: Dataset, source: Dataset) -> None:
    """Give a data set the source's Specific Character Set where all its text can be said in it, else UTF-8.

    A data set that is plain ASCII throughout and whose source names no character set gets none.
    """
    with unwarned():
        named = [part.strip() for part in text_of(source, "SpecificCharacterSet").split("\\")]
        named = ["" if part == "ISO_IR 6" else part for part in named]  # the default has no defined term (C.12.1.1.2)
        wanted = named if any(named) else []
        if len(wanted) > 1 and not _WITHOUT_EXTENSIONS.isdisjoint(wanted):
            wanted = [UTF8]
        texts = [pair for pair in _all_text(dataset) if not pair[1].isascii()]
        if wanted and set(wanted) <= set(python_encoding) and not _is_misread(texts, wanted) and _fits(texts, wanted):
            dataset.SpecificCharacterSet = wanted if len(wanted) > 1 else wanted[0]
        elif texts or wanted:
            dataset.SpecificCharacterSet = UTF8


def put(target: Dataset, keyword: str, value: object) -> None:
    """Set an attribute without pydicom's own judgement: identifiers are passed on, whatever their length."""
    tag = tag_for_keyword(keyword)
    if tag is None:
        message = f"{keyword} is not a keyword of the data dictionary"
        raise ValueError(message)
    target.add(DataElement(tag, dictionary_VR(tag), value, validation_mode=config.IGNORE))


def dated(when: datetime, source: Dataset) -> datetime:
    """Return a time in the source's own time zone where it names one, else as it is."""
    zone = timezone_of(source)
    return when.astimezone(zone) if zone else when


def _value(source: Dataset, keyword: str) -> object:
    try:
        return source.get(keyword)
    except _UNREADABLE:
        return None


def _holds_bytes(source: Dataset, keyword: str) -> bool:
    raw = source.get_item(keyword)
    value = raw.value if raw is not None else None
    return bool(value.strip(b" \0")) if isinstance(value, bytes) else isinstance(value, Sequence) and len(value) > 0


def _texts(source: Dataset) -> Iterator[tuple[str, str]]:
    for keyword in ("PatientName", "ReferringPhysicianName"):
        yield keyword, _name(text_of(source, keyword))
    for keyword in _VERBATIM:
        yield keyword, text_of(source, keyword)
    for keyword in _PLAIN:
        yield keyword, _short(keyword, text_of(source, keyword))
    for keyword in ("PatientBirthDate", "StudyDate"):
        yield keyword, date_of(text_of(source, keyword))
    yield "StudyTime", _time(text_of(source, "StudyTime"))
    sex = code_string(source, "PatientSex")
    yield "PatientSex", sex if sex in {"M", "F", "O"} else ""
    age = code_string(source, "PatientAge")
    yield "PatientAge", age if _AGE.fullmatch(age) else ""
    offset = text_of(source, "TimezoneOffsetFromUTC")
    yield "TimezoneOffsetFromUTC", offset if timezone_of(source) else ""
    removed = code_string(source, "PatientIdentityRemoved")
    yield "PatientIdentityRemoved", removed if removed in {"YES", "NO"} else ""
    yield "DeidentificationMethod", _methods(source, removed)


def _methods(source: Dataset, removed: str) -> str:
    """Return how the identity was removed; it may not be left open where it was (type 1C, PS3.3 C.7.1.1)."""
    given = text_of(source, "DeidentificationMethod").split("\\")
    methods = [method for text in given if (method := _short("DeidentificationMethod", text.strip()))]
    coded = any(code_of([item]) for item in items_of(source, "DeidentificationMethodCodeSequence"))
    unnamed = removed == "YES" and not coded
    return "\\".join(methods) or (_UNSTATED if unnamed else "")


def _sequences(source: Dataset) -> Iterator[tuple[str, list[Dataset]]]:
    yield "IssuerOfAccessionNumberSequence", _entities(source, "IssuerOfAccessionNumberSequence", _ENTITY)
    qualifiers = (*_ENTITY[1:], "IdentifierTypeCode")
    yield "IssuerOfPatientIDQualifiersSequence", _entities(source, "IssuerOfPatientIDQualifiersSequence", qualifiers)
    for keyword in ("ProcedureCodeSequence", "DeidentificationMethodCodeSequence"):
        codes = [code_of([item]) for item in items_of(source, keyword)]
        yield keyword, [code_item(code) for code in codes if code is not None]


def _entities(source: Dataset, keyword: str, attributes: tuple[str, ...]) -> list[Dataset]:
    """Copy HL7v2 hierarchic designators; an entity id without its type (or the reverse) says nothing (PS3.3 10.14)."""
    found = []
    for item in items_of(source, keyword)[:1]:
        values = {name: (code_string if dictionary_VR(name) == "CS" else text_of)(item, name) for name in attributes}
        if not (values["UniversalEntityID"] and values["UniversalEntityIDType"]):
            values["UniversalEntityID"] = values["UniversalEntityIDType"] = ""
        clean = Dataset()
        for name, value in values.items():
            if value:
                put(clean, name, value)
        if len(clean):
            found.append(clean)
    return found


def code_item(code: Code) -> Dataset:
    """Return a code as an item of a code sequence (PS3.3 8.8)."""
    item = Dataset()
    put(item, "CodeValue" if len(code.value) <= LONGEST["SH"] else "LongCodeValue", code.value)
    put(item, "CodingSchemeDesignator", code.scheme_designator)
    put(item, "CodeMeaning", code.meaning)
    return item


def _request(source: Dataset, item: Dataset, study_instance_uid: str) -> Dataset:
    request = Dataset()
    request.StudyInstanceUID = study_instance_uid
    request.ReferencedStudySequence = []
    accession = text_of(item, "AccessionNumber") or text_of(source, "AccessionNumber")
    put(request, "AccessionNumber", accession)
    for keyword in ("PlacerOrderNumberImagingServiceRequest", "FillerOrderNumberImagingServiceRequest"):
        put(request, keyword, text_of(item, keyword) or text_of(source, keyword))
    put(request, "RequestedProcedureID", text_of(item, "RequestedProcedureID"))
    put(
        request,
        "RequestedProcedureDescription",
        _short("RequestedProcedureDescription", text_of(item, "RequestedProcedureDescription")),
    )
    code = code_of(items_of(item, "RequestedProcedureCodeSequence"))
    request.RequestedProcedureCodeSequence = [code_item(code)] if code else []
    return request


def _short(keyword: str, text: str) -> str:
    longest = LONGEST.get(dictionary_VR(keyword))
    # A backslash separates values in these VRs, so a text with one would be several.
    return text.replace("\\", " ").strip()[:longest].rstrip()


def _name(text: str) -> str:
    """Keep the first name and its three component groups of at most 64 characters (PS3.5 6.2, PN)."""
    groups = text.split("\\", maxsplit=1)[0].split("=")[:3]
    return "=".join("^".join(group.split("^")[:5])[: LONGEST["PN"]] for group in groups)


def date_of(text: str) -> str:
    """Return a text as a DA value, empty where it is no date; old forms with separators are read."""
    found = _DATE.fullmatch(text.split("\\", maxsplit=1)[0].strip())
    if found is None:
        return ""
    try:
        return date(int(found[1]), int(found[2]), int(found[3])).strftime("%Y%m%d").zfill(8)
    except ValueError:
        return ""


def _time(text: str) -> str:
    found = _TIME.fullmatch(text.split("\\", maxsplit=1)[0].strip())
    if found is None:
        return ""
    hour, minute, second, fraction = found.groups()
    return hour + (minute or "") + (second or "") + (f".{fraction}" if fraction else "")


def _all_text(dataset: Dataset) -> Iterator[tuple[str, str]]:
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from _all_text(item)
        elif element.VR in _TEXT_VRS and element.value:
            yield element.VR, str(element.value)


def _is_misread(texts: list[tuple[str, str]], character_sets: list[str]) -> bool:
    """Tell whether pydicom would write Latin letters and signs unescaped into the default repertoire.

    That holds ASCII only (PS3.5 6.1.1), and pydicom takes it for Latin-1: it alone would read them again.
    """
    return character_sets[0] in _DEFAULT_REPERTOIRE and any(
        "\x80" <= sign <= "\xff" for _, text in texts for sign in text
    )


def _fits(texts: list[tuple[str, str]], character_sets: list[str]) -> bool:
    """Tell whether each text comes back unchanged from these character sets."""
    try:
        encodings = convert_encodings(character_sets)
        return all(_round_trip(vr, text, encodings) == text for vr, text in texts)
    except (LookupError, ValueError):
        return False


def _round_trip(vr: str, text: str, encodings: list[str]) -> str:
    if vr == "PN":
        return str(PersonName(PersonName(text).encode(encodings), encodings))
    return decode_bytes(encode_string(text, encodings), encodings, _DELIMITERS)
