"""Which SOP classes are stored here: every storage class of the standard, retired ones too, and any private class."""

from __future__ import annotations

from dicom_node.core.identifiers import is_usable_uid

VERIFICATION = "1.2.840.10008.1.1"
STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"

_STANDARD = "1.2.840.10008."
_STORAGE = "1.2.840.10008.5.1.4.1.1."
# What lies among the storage classes and is none: queries for protocols and for inventories (PS3.4 HH, KK).
_QUERIES = frozenset(
    _STORAGE + ending for ending in ("200.4", "200.5", "200.6", "201.2", "201.3", "201.4", "201.5", "201.6")
)
# Storage classes elsewhere (PS3.4 B.5). Hanging protocols, palettes, implant templates (PS3.4 GG.3) are none of them:
# they belong to no patient and no study.
_ELSEWHERE = frozenset(("1.2.840.10008.5.1.4.34.7", "1.2.840.10008.5.1.4.34.10"))


def is_storage_class(uid: str) -> bool:
    """Tell whether instances of a class are stored; what the standard does not name is private, and stored."""
    if not uid.startswith(_STANDARD):
        return is_usable_uid(uid)
    return uid in _ELSEWHERE or (uid.startswith(_STORAGE) and uid not in _QUERIES and is_usable_uid(uid))
