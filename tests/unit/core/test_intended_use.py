from __future__ import annotations

from dataclasses import replace

import pytest

from dicom_node.core.findings import ReasonCode
from dicom_node.core.intended_use import (
    IntendedUse,
    ViewAttributes,
    age_in_years,
    attributes_within,
    exclusion,
    years_between,
)

USE = IntendedUse(("CR", "DX"), ("HAND", "FOOT"), body_part_required=False, min_age_years=18, statement="Adults")
STRICT = IntendedUse(("CR", "DX"), ("HAND",), body_part_required=True, min_age_years=18, statement="Adults")


@pytest.mark.parametrize(
    ("attributes", "code"),
    [
        (ViewAttributes("CR"), None),
        (ViewAttributes("dx ", " hand"), None),
        (ViewAttributes("CT"), ReasonCode.MODALITY),
        (ViewAttributes("MG"), ReasonCode.MODALITY),
        (ViewAttributes(""), ReasonCode.MODALITY),
        (ViewAttributes("DX", "CHEST"), ReasonCode.BODY_PART),
        (ViewAttributes("DX", "HAND", "018Y"), None),
        (ViewAttributes("DX", "HAND", "017Y"), ReasonCode.AGE),
        (ViewAttributes("DX", "HAND", "006M"), ReasonCode.AGE),
        (ViewAttributes("DX", "HAND", "300M"), None),
        (ViewAttributes("DX", "HAND", "000D"), ReasonCode.AGE),
        (ViewAttributes("DX", "HAND", ""), None),
        (ViewAttributes("DX", "HAND", "young"), None),
        (ViewAttributes("DX", "HAND", "", ("DERIVED", "PRIMARY")), None),
        (ViewAttributes("DX", "HAND", "", ("ORIGINAL",)), None),
        (ViewAttributes("DX", "HAND", "", ("DERIVED", "SECONDARY")), ReasonCode.IMAGE_KIND),
    ],
)
def test_case_c35_only_what_is_meant_is_scored(attributes: ViewAttributes, code: ReasonCode | None) -> None:
    reason = exclusion(USE, attributes)
    assert (reason.code if reason else None) is code
    assert reason is None or not reason.attempted


HAND = ViewAttributes("DX", "HAND", image_type=("ORIGINAL", "PRIMARY"))
BORN_2010 = {"birth_date": "20100615"}


@pytest.mark.parametrize(
    ("stated", "bundle", "code"),
    [
        ({**BORN_2010, "study_date": "20280614"}, {}, ReasonCode.AGE),  # a child whose Patient's Age was blanked
        ({**BORN_2010, "study_date": "20280615"}, {}, None),
        ({**BORN_2010, "study_date": "20260101", "patient_age": "045Y"}, {}, ReasonCode.AGE),  # they disagree
        ({**BORN_2010, "study_date": "20460101", "patient_age": "015Y"}, {}, ReasonCode.AGE),
        ({**BORN_2010, "study_date": ""}, {}, None),
        ({**BORN_2010, "study_date": ""}, {"age_required": True}, ReasonCode.AGE),
        ({}, {"age_required": True}, ReasonCode.AGE),
        ({"patient_age": "045Y"}, {"age_required": True}, None),
        ({"presentation_intent": "FOR PROCESSING"}, {}, ReasonCode.IMAGE_KIND),
        ({"presentation_intent": "FOR PRESENTATION"}, {}, None),
        ({"burned_in_annotation": "yes "}, {}, ReasonCode.IMAGE_KIND),
        ({"burned_in_annotation": "YES"}, {"burned_in_annotation": True}, None),
        ({"burned_in_annotation": "NO"}, {}, None),
        ({"view_position": "AXIAL"}, {}, None),
        ({"view_position": "AXIAL"}, {"view_positions": ("AP", "LL")}, ReasonCode.IMAGE_KIND),
        ({"view_position": "ap"}, {"view_positions": ("AP", "LL")}, None),
        ({"view_position": ""}, {"view_positions": ("AP", "LL")}, None),
        ({"image_type": ("DERIVED", "SECONDARY", "STITCHED")}, {}, ReasonCode.IMAGE_KIND),
        ({"body_part": "CHEST"}, {}, ReasonCode.BODY_PART),
        ({"modality": "US"}, {}, ReasonCode.MODALITY),
    ],
)
def test_case_c35_each_attribute_that_the_bundle_judges_excludes(stated, bundle, code) -> None:
    reason = exclusion(replace(USE, **bundle), replace(HAND, **stated))
    assert (reason.code if reason else None) is code
    assert reason is None or not any(value and value in reason.text for value in BORN_2010.values())


@pytest.mark.parametrize("min_age_years", [0, 0.5, 18, 150.0])
def test_a_bundle_can_be_tried_whatever_it_demands(min_age_years) -> None:
    use = replace(STRICT, min_age_years=min_age_years, age_required=True, view_positions=("AP",))
    assert exclusion(use, attributes_within(use)) is None


def test_years_are_whole_birthdays_and_nonsense_gives_none() -> None:
    assert years_between("20080229", "20260228") == 17.0
    assert years_between("20080229", "20260301") == 18.0
    for birth, study in (("20270101", "20260101"), ("20081399", "20260101"), ("1970", "20260101"), ("", "20260101")):
        assert years_between(birth, study) is None


def test_a_bundle_may_demand_a_body_part() -> None:
    reason = exclusion(STRICT, ViewAttributes("DX"))
    assert reason is not None
    assert reason.code is ReasonCode.BODY_PART


def test_only_well_formed_codes_are_named() -> None:
    named, unnamed = (
        exclusion(USE, ViewAttributes("DX", "CHEST")),
        exclusion(USE, ViewAttributes("DX", "Doe^John 1970")),
    )
    assert named is not None
    assert "CHEST" in named.text
    assert unnamed is not None
    assert "DOE" not in unnamed.text.upper()


def test_ages_are_read_as_the_standard_writes_them() -> None:
    assert age_in_years("012Y") == 12.0
    assert age_in_years("006M") == 0.5
    assert age_in_years("026W") == pytest.approx(0.5, abs=0.01)
    assert age_in_years("12") is None
    assert age_in_years("\u0661\u0662Y") is None
