"""Whether everything says the same patient: the images of a study, and each written object with its source.

A result that may be another patient's is worse than none, so a mismatch is a Permanent error: nothing is sent, and the
version is failed in the log and in the status.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from pydicom import dcmread

from dicom_node.core.errors import IdentityMismatch
from dicom_node.report.identity import LONGEST, date_of, is_unreadable, text_of, unwarned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from pydicom.dataset import Dataset

#: May not be changed by a single character on the way from the source to a result.
_IDENTIFIERS = ("PatientID", "AccessionNumber", "StudyID")
#: May be cut where the source is longer than its VR allows (PS3.5 6.2), and have no second value.
_DESCRIPTIVE = ("IssuerOfPatientID", "StudyDescription")
_NAMES = ("PatientName", "ReferringPhysicianName")
_DATES = ("PatientBirthDate", "StudyDate")
_READ = [*_IDENTIFIERS, *_DESCRIPTIVE, *_NAMES, *_DATES, "StudyInstanceUID"]


def require_one_patient(study_instance_uid: str, headers: Iterable[Dataset]) -> None:
    """Raise IdentityMismatch where two images of a study name different patients.

    Compared are patient ID with its issuer, name and birth date, each where both images state it: an empty or illegal
    value says nothing. Case and trailing delimiters of a name are no difference.
    """
    with unwarned():
        for one, other in combinations(headers, 2):
            for keyword, differ in _PATIENT:
                if differ(one, other, keyword):
                    message = (
                        f"study {study_instance_uid}: its images disagree about {keyword}, so no result was made; "
                        "correct the images at their source and send them again"
                    )
                    raise IdentityMismatch(message)


def require_same_identity(study_instance_uid: str, source: Dataset, path: Path) -> None:
    """Read a written object back and raise IdentityMismatch where it does not say what its source says.

    Both sides are compared as decoded Unicode, whatever character set each is written in.
    """
    with unwarned():
        made = dcmread(path, specific_tags=_READ, stop_before_pixels=True)
        keyword = _changed(study_instance_uid, source, made)
    if keyword:
        message = (
            f"study {study_instance_uid}: {keyword} of the written {path.name} is not what the source image says, so "
            "nothing was sent; report this as a defect, with the image's character set"
        )
        raise IdentityMismatch(message)


def _changed(study_instance_uid: str, source: Dataset, made: Dataset) -> str:
    """Return the keyword of the first attribute that a written object says differently, empty where there is none."""
    if text_of(made, "StudyInstanceUID") != study_instance_uid:
        return "StudyInstanceUID"
    unreadable = (keyword for keyword in ("PatientID", "PatientName") if is_unreadable(source, keyword))
    if (keyword := next(unreadable, "")) != "":
        return keyword
    for keyword in (*_IDENTIFIERS, *_DESCRIPTIVE, *_NAMES, *_DATES):
        said, written = text_of(source, keyword), text_of(made, keyword)
        if written != said and not _mended(keyword, said, written):
            return keyword
    return ""


def _mended(keyword: str, said: str, written: str) -> bool:
    """Tell whether a difference is one that `identity` makes on purpose, judged by the standard's bounds alone."""
    if keyword in _DATES:
        return written == date_of(said)
    if keyword in _NAMES:
        groups = said.split("\\", maxsplit=1)[0].split("=")[:3]
        kept = written.split("=")
        return _bare(groups) == _bare(kept) or (
            len(kept) <= len(groups)
            and all(_cut(group, mine, LONGEST["PN"]) for group, mine in zip(groups, kept, strict=False))
        )
    if keyword in _DESCRIPTIVE:
        return _cut(said.replace("\\", " ").strip(), written, LONGEST["LO"])
    return False


def _bare(groups: list[str]) -> list[str]:
    return [group.rstrip("^ ") for group in groups]


def _cut(whole: str, part: str, longest: int) -> bool:
    """Tell whether a text is another one without its end, and only where that was too long or had too many parts."""
    too_much = len(whole) > longest or whole.count("^") > 4  # noqa: PLR2004 - a name has five components
    return whole.rstrip() == part or (too_much and bool(part) and whole.startswith(part))


def _ids_differ(one: Dataset, other: Dataset, keyword: str) -> bool:
    first, second = text_of(one, keyword), text_of(other, keyword)
    return bool(first and second) and first != second


def _dates_differ(one: Dataset, other: Dataset, keyword: str) -> bool:
    first, second = date_of(text_of(one, keyword)), date_of(text_of(other, keyword))
    return bool(first and second) and first != second


def _names_differ(one: Dataset, other: Dataset, keyword: str) -> bool:
    """Compare group by group (alphabetic, ideographic, phonetic), since one image may lack what another has."""
    groups = [[_folded(group) for group in text_of(header, keyword).split("=")] for header in (one, other)]
    return any(first and second and first != second for first, second in zip(*groups, strict=False))


def _folded(group: str) -> str:
    return "^".join(part.strip() for part in group.casefold().split("^")).rstrip("^")


_PATIENT: tuple[tuple[str, Callable[[Dataset, Dataset, str], bool]], ...] = (
    ("PatientID", _ids_differ),
    ("IssuerOfPatientID", _ids_differ),
    ("PatientName", _names_differ),
    ("PatientBirthDate", _dates_differ),
)
