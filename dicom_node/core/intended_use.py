"""What a model is meant for, and why an image falls outside it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from dicom_node.core.findings import Reason, ReasonCode

_AGE: Final = re.compile(r"([0-9]{1,3})([DWMY])")
_YEARS: Final = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}
_CODE_STRING: Final = re.compile(r"[A-Z0-9 _]{1,16}")
_IMAGE_TYPE_EXAMINATION: Final = 1  # ImageType value 2, counted from nought


@dataclass(frozen=True, slots=True)
class IntendedUse:
    """The images a bundle may score: DICOM modalities and body parts (PS3.16 Annex L), and the youngest age in years.

    body_part_required: an image that states no body part is out of scope. statement: the same in words, for readers.
    """

    modalities: tuple[str, ...]
    body_parts: tuple[str, ...]
    body_part_required: bool
    min_age_years: float
    statement: str


@dataclass(frozen=True, slots=True)
class ViewAttributes:
    """The attributes by which an image is judged, as received: text, empty where absent; image_type value by value."""

    modality: str
    body_part: str = ""
    patient_age: str = ""
    image_type: tuple[str, ...] = ()


def age_in_years(age_string: str) -> float | None:
    """Return a DICOM Age String (012Y, 006M, 003W, 010D) in years, or None where it is absent or cannot be read."""
    match = _AGE.fullmatch(age_string.strip().upper())
    return None if match is None else int(match[1]) * _YEARS[match[2]]


def exclusion(use: IntendedUse, view: ViewAttributes) -> Reason | None:
    r"""Return why this image is outside the intended use, or None where nothing stated speaks against it.

    An age that is absent or unreadable excludes nothing: many archives blank it. DERIVED\PRIMARY is how processed CR
    and DX images are labelled, so only SECONDARY (made after the examination: prints, key images, stitched) is out.
    """
    modality, body_part = normal(view.modality), normal(view.body_part)
    if modality not in use.modalities:
        return Reason(ReasonCode.MODALITY, f"{_named('modality', modality)} is outside the model's intended use")
    if len(view.image_type) > _IMAGE_TYPE_EXAMINATION and normal(view.image_type[1]) == "SECONDARY":
        return Reason(ReasonCode.IMAGE_KIND, "the image was made after the examination (Image Type SECONDARY)")
    if not body_part and use.body_part_required:
        return Reason(ReasonCode.BODY_PART, "the image states no body part, which the model's intended use demands")
    if body_part and body_part not in use.body_parts:
        return Reason(ReasonCode.BODY_PART, f"{_named('body part', body_part)} is outside the model's intended use")
    age = age_in_years(view.patient_age)
    if age is not None and age < use.min_age_years:
        return Reason(ReasonCode.AGE, f"the model is not meant for patients under {use.min_age_years:g} years")
    return None


def normal(text: str) -> str:
    """Return a code string as it is compared: without outer spaces, in capitals."""
    return text.strip().upper()


def _named(attribute: str, value: str) -> str:
    """Name a value only where it is a well-formed code: anything else may be free text about a patient."""
    if not value:
        return f"an image without a {attribute}"
    return f"{attribute} {value}" if _CODE_STRING.fullmatch(value) else f"the stated {attribute}"
