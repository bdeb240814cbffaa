from __future__ import annotations

import re

import pytest

from dicom_node.core.identifiers import derived_uid, is_conformant_uid, is_usable_uid, spool_key


@pytest.mark.parametrize(
    ("uid", "usable", "conformant"),
    [
        ("1.2.840.10008.1.1", True, True),
        ("2.25.0", True, True),
        ("1.02.3", True, False),
        ("1..2", True, False),
        ("1.2.", True, False),
        ("", False, False),
        ("1" * 64, True, True),
        ("1" * 65, False, False),
        ("1.2.3\n", False, False),
        ("1.2.3\x00", False, False),
        ("../../etc/passwd", False, False),
        ("1.2.٣", False, False),
    ],
)
def test_uids_are_judged_before_they_become_keys(uid, usable, conformant) -> None:
    assert is_usable_uid(uid) is usable
    assert is_conformant_uid(uid) is conformant


def test_a_derived_uid_is_conformant_and_always_the_same() -> None:
    first = derived_uid("sr", "1.2.3", "v1")
    assert first == derived_uid("sr", "1.2.3", "v1")
    assert is_conformant_uid(first)
    assert first.startswith("2.25.")
    assert len({first, derived_uid("sr", "1.2.3", "v2"), derived_uid("sr1.2.3", "v1")}) == 3


def test_a_spool_key_never_holds_the_uid() -> None:
    key = spool_key("1.2.840.99", "ab" * 32)
    assert re.fullmatch(r"[0-9a-f]{2}/[0-9a-f]{64}", key)
    assert key[:2] == key[3:5]
    assert key != spool_key("1.2.840.99", "cd" * 32)
