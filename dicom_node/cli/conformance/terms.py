"""The coded terms of the reports, as `report/codes.py` holds them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydicom.sr.coding import Code

from dicom_node.cli.conformance.markdown import table
from dicom_node.report import codes

if TYPE_CHECKING:
    from collections.abc import Iterator


def standard_terms() -> str:
    """Return the table of the terms from public coding schemes."""
    return _table(code for code in _terms() if code.scheme_designator != codes.OWN_SCHEME)


def own_terms() -> str:
    """Return the table of the terms of our own scheme."""
    return _table(code for code in _terms() if code.scheme_designator == codes.OWN_SCHEME)


def _terms() -> Iterator[Code]:
    for name, value in vars(codes).items():
        if name.isupper():
            yield from (code for code in _codes(value) if isinstance(code, Code))


def _codes(value: object) -> list[object]:
    return list(value.values()) if isinstance(value, dict) else [value]


def _table(terms: Iterator[Code]) -> str:
    once = dict.fromkeys((code.value, code.scheme_designator, code.meaning) for code in terms)
    return table(("Code", "Scheme", "Meaning"), sorted(once, key=lambda term: (term[1], term[0])))
