"""The DIMSE statuses that this node gives and understands (PS3.4 B.2.3, PS3.7 C)."""

from __future__ import annotations

SUCCESS = 0x0000
DUPLICATE = 0x0111
CLASS_NOT_SUPPORTED = 0x0122
OUT_OF_RESOURCES = 0xA700
MISMATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000
PROCESSING_FAILURE = 0x0110
CLASS_NOT_SUPPORTED = 0x0122
UNRECOGNISED_OPERATION = 0x0211
NO_SUCH_EVENT_TYPE = 0x0113
INVALID_ARGUMENT = 0x0115
NO_SUCH_ACTION = 0x0123

_WARNINGS = frozenset({0x0001, 0x0107, 0x0116}) | frozenset(range(0xB000, 0xC000))
_PASSING = range(0xA700, 0xA800)
_NOT_LIKE_THIS = (range(0xA900, 0xAA00), range(0xC000, 0xD000))


def is_stored(status: int) -> bool:
    """Tell whether the peer has the object: success, a warning about what it changed, or it had it before.

    What is sent again after a crash is the same object under the same UID, so a duplicate is no failure.
    """
    return status in {SUCCESS, DUPLICATE} or status in _WARNINGS


def may_pass(status: int) -> bool:
    """Tell whether the same object may be accepted later: the peer lacks resources, or says only "failed"."""
    return status in _PASSING or status in {0x0110, 0x0213}


def wants_another(status: int) -> bool:
    """Tell whether the peer may take the same content in another SOP class or transfer syntax."""
    return status == CLASS_NOT_SUPPORTED or any(status in refusals for refusals in _NOT_LIKE_THIS)


def is_not_offered(status: int) -> bool:
    """Tell whether the peer has no such service, although it accepted a context for it."""
    return status in {CLASS_NOT_SUPPORTED, NO_SUCH_ACTION, UNRECOGNISED_OPERATION}
