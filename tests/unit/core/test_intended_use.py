from __future__ import annotations

import pytest

from dicom_node.core.findings import ReasonCode
from dicom_node.core.intended_use import IntendedUse, ViewAttributes, age_in_years, exclusion

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
