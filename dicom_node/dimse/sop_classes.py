"""Which SOP classes are stored here: every storage class of the standard, retired ones too, and any private class."""

from __future__ import annotations

from dicom_node.core.identifiers import is_usable_uid

VERIFICATION = "1.2.840.10008.1.1"
STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"

_STANDARD = "1.2.840.10008."
_STORAGE = "1.2.840.10008.5.1.4.1.1."
# What lies among the storage classes and is none of a patient: protocols as defined, their approvals, inventories, and
# the queries for these (PS3.4 GG.3, HH, KK).
_OF_NO_PATIENT = frozenset(
    [_STORAGE + f"200.{number}" for number in (1, 3, 4, 5, 6, 7)]
    + [_STORAGE + f"201.{number}" for number in range(1, 7)]
)
# Storage classes elsewhere (PS3.4 B.5). Hanging protocols, palettes, implant templates (PS3.4 GG.3) are none of them:
# they belong to no patient and no study.
_ELSEWHERE = frozenset("1.2.840.10008.5.1.4.34." + number for number in ("1", "7", "10"))


def is_storage_class(uid: str) -> bool:
    """Tell whether instances of a class are stored; what the standard does not name is private, and stored."""
    if not uid.startswith(_STANDARD):
        return is_usable_uid(uid)
    return uid in _ELSEWHERE or (uid.startswith(_STORAGE) and uid not in _OF_NO_PATIENT and is_usable_uid(uid))
