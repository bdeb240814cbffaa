"""UIDs and spool keys: the only names by which anything is known here."""

from __future__ import annotations

import hashlib
import re
import uuid
from typing import NewType

SpoolKey = NewType("SpoolKey", str)
"""Where an instance's bytes lie, relative to the spool: a SHA-256 over its UID and data set, never the UID itself."""

_UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))*")
_LENIENT_UID = re.compile(r"[0-9.]{1,64}")
UID_MAX_LENGTH = 64

#: Every UID this node makes is a UUID-derived UID (PS3.5 B.2) of a UUIDv5 in this namespace, so the same result always
#: has the same UIDs and our own objects can be told from a peer's.
_NAMESPACE = uuid.UUID("6b1d3a52-6c1c-5c5e-9a62-0d1c0a0e5f11")
UID_ROOT = "2.25."


def is_usable_uid(value: str) -> bool:
    """Tell whether a received UID may be used as a key: 1 to 64 digits and dots (PS3.5 9.1; leading zeros let by)."""
    return _LENIENT_UID.fullmatch(value) is not None


def is_conformant_uid(value: str) -> bool:
    """Tell whether a UID follows PS3.5 9.1 to the letter."""
    return len(value) <= UID_MAX_LENGTH and _UID.fullmatch(value) is not None


def derived_uid(*parts: str) -> str:
    """Return the UID that belongs to these parts, the same one every time (2.25.<UUIDv5>, PS3.5 B.2)."""
    return UID_ROOT + str(uuid.uuid5(_NAMESPACE, "\x1f".join(parts)).int)


def new_uid() -> str:
    """Return a UID that nobody has used and nobody can guess (2.25.<UUIDv4>, PS3.5 B.2): of a transaction."""
    return UID_ROOT + str(uuid.uuid4().int)


def spool_key(sop_instance_uid: str, dataset_sha256: str) -> SpoolKey:
    """Return the key for an instance's bytes, fanned out over 256 folders so that no folder grows too large."""
    digest = hashlib.sha256(f"{sop_instance_uid}\x1f{dataset_sha256}".encode()).hexdigest()
    return SpoolKey(f"{digest[:2]}/{digest}")
