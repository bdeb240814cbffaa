"""The DIMSE statuses that this node gives and understands (PS3.4 B.2.3, PS3.7 C)."""

from __future__ import annotations

SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
MISMATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000
PROCESSING_FAILURE = 0x0110
CLASS_NOT_SUPPORTED = 0x0122
UNRECOGNISED_OPERATION = 0x0211

_WARNINGS = frozenset({0xB000, 0xB006, 0xB007})
_PASSING = range(0xA700, 0xA800)


def is_stored(status: int) -> bool:
    """Tell whether the peer has stored the object: success, or a warning about what it changed."""
    return status == SUCCESS or status in _WARNINGS


def may_pass(status: int) -> bool:
    """Tell whether the same object may be accepted later: the peer lacks resources, or says only "failed"."""
    return status in _PASSING or status in {0x0110, 0x0213}
