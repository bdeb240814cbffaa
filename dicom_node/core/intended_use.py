"""What a model is meant for, and why an image falls outside it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from math import ceil
from typing import Final

from dicom_node.core.findings import Reason, ReasonCode

_AGE: Final = re.compile(r"([0-9]{1,3})([DWMY])")
_YEARS: Final = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}
_DATE: Final = re.compile(r"[0-9]{8}")
_CODE_STRING: Final = re.compile(r"[A-Z0-9 _]{1,16}")
_IMAGE_TYPE_EXAMINATION: Final = 1  # ImageType value 2, counted from nought


@dataclass(frozen=True, slots=True)
class IntendedUse:
    """The images a bundle may score: DICOM modalities and body parts (PS3.16 Annex L), and the youngest age in years.

    body_part_required, age_required: an image that does not state it is out of scope. view_positions: none means any;
    an image that states none is judged by the rest. burned_in_annotation: whether images that say they have text burned
    in may be scored. statement: the same in words, for readers.
    """

    modalities: tuple[str, ...]
    body_parts: tuple[str, ...]
    body_part_required: bool
    min_age_years: float
    statement: str
    age_required: bool = False
    view_positions: tuple[str, ...] = ()
    burned_in_annotation: bool = False


@dataclass(frozen=True, slots=True)
class ViewAttributes:
    """The attributes by which an image is judged, as received: text, empty where absent; image_type value by value.

    study_date: when the patient had the age; it dates a birth date where Patient's Age is blank.
    """

    modality: str
    body_part: str = ""
    patient_age: str = ""
    image_type: tuple[str, ...] = ()
    birth_date: str = ""
    study_date: str = ""
    view_position: str = ""
    presentation_intent: str = ""
    burned_in_annotation: str = ""


def attributes_within(use: IntendedUse) -> ViewAttributes:
    """Return attributes that a bundle scores whatever it demands: those of an image that it is tried on."""
    return ViewAttributes(
        modality=use.modalities[0],
        body_part=use.body_parts[0],
        patient_age=f"{ceil(use.min_age_years):03d}Y",
        image_type=("ORIGINAL", "PRIMARY"),
        view_position=use.view_positions[0] if use.view_positions else "",
    )


def age_in_years(age_string: str) -> float | None:
    """Return a DICOM Age String (012Y, 006M, 003W, 010D) in years, or None where it is absent or cannot be read."""
    match = _AGE.fullmatch(age_string.strip().upper())
    return None if match is None else int(match[1]) * _YEARS[match[2]]


def years_between(birth_date: str, study_date: str) -> float | None:
    """Return the years between two DICOM Dates (19700131), or None where one is absent, unreadable or out of order."""
    texts = (birth_date.strip(), study_date.strip())
    if not all(_DATE.fullmatch(text) for text in texts):
        return None
    try:
        born, then = (date(int(text[:4]), int(text[4:6]), int(text[6:])) for text in texts)
    except ValueError:
        return None
    whole = then.year - born.year - ((then.month, then.day) < (born.month, born.day))
    return float(whole) if born <= then else None


def exclusion(use: IntendedUse, view: ViewAttributes) -> Reason | None:
    """Return why this image is outside the intended use, or None where nothing stated speaks against it."""
    modality = normal(view.modality)
    if modality not in use.modalities:
        return Reason(ReasonCode.MODALITY, f"{_named('modality', modality)} is outside the model's intended use")
    return _kind_excluded(use, view) or _body_part_excluded(use, normal(view.body_part)) or _age_excluded(use, view)


def _kind_excluded(use: IntendedUse, view: ViewAttributes) -> Reason | None:
    r"""Judge how the image was made and what was done to it.

    DERIVED\PRIMARY is how processed CR and DX images are labelled, so only SECONDARY (made after the examination:
    prints, key images, stitched) is out.
    """
    text = ""
    if len(view.image_type) > _IMAGE_TYPE_EXAMINATION and normal(view.image_type[1]) == "SECONDARY":
        text = "the image was made after the examination (Image Type SECONDARY)"
    elif normal(view.presentation_intent) == "FOR PROCESSING":
        text = "the image is meant for processing, not for presentation (Presentation Intent Type)"
    elif normal(view.burned_in_annotation) == "YES" and not use.burned_in_annotation:
        text = "the image has text burned in (Burned In Annotation YES), which the model has not been measured on"
    elif use.view_positions and view.view_position.strip() and normal(view.view_position) not in use.view_positions:
        text = f"{_named('view position', normal(view.view_position))} is outside the model's intended use"
    return Reason(ReasonCode.IMAGE_KIND, text) if text else None


def _body_part_excluded(use: IntendedUse, body_part: str) -> Reason | None:
    if not body_part and use.body_part_required:
        return Reason(ReasonCode.BODY_PART, "the image states no body part, which the model's intended use demands")
    if body_part and body_part not in use.body_parts:
        return Reason(ReasonCode.BODY_PART, f"{_named('body part', body_part)} is outside the model's intended use")
    return None


def _age_excluded(use: IntendedUse, view: ViewAttributes) -> Reason | None:
    """Judge the stated age and the one that the birth date gives: the lower one counts, for one of them is wrong.

    Without either, the bundle decides: many archives blank both.
    """
    ages = [age_in_years(view.patient_age), years_between(view.birth_date, view.study_date)]
    known = [age for age in ages if age is not None]
    if known and min(known) < use.min_age_years:
        return Reason(ReasonCode.AGE, f"the model is not meant for patients under {use.min_age_years:g} years")
    if not known and use.age_required:
        return Reason(ReasonCode.AGE, "the image states no age, which the model's intended use demands")
    return None


def normal(text: str) -> str:
    """Return a code string as it is compared: without outer spaces, in capitals."""
    return text.strip().upper()


def _named(attribute: str, value: str) -> str:
    """Name a value only where it is a well-formed code: anything else may be free text about a patient."""
    if not value:
        return f"an image without a {attribute}"
    return f"{attribute} {value}" if _CODE_STRING.fullmatch(value) else f"the stated {attribute}"
