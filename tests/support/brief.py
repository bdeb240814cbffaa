"""Results in brief, with everything in them that breaks careless writers of messages."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from dicom_node.core.summary import (
    SUMMARY_FILE,
    AlgorithmSummary,
    CodeSummary,
    OrderSummary,
    PatientSummary,
    ResultSummary,
    StudySummary,
    ViewSummary,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NARRATIVE = "POSITIVE: fracture suspected on 1 of 2 views. AI result, not verified by a physician."
ODD = "a|b^c&d~e\\f"


def a_summary(**changes: Any) -> ResultSummary:
    """Return a positive result of two views, whose texts hold every delimiter of HL7 and letters of three scripts."""
    views = (
        ViewSummary("1.2.840.10008.5.1.4.1.1.1", "1.2.3.10", "positive", 0.9312, "POSITIVE; probability 93.1 %"),
        ViewSummary("1.2.840.10008.5.1.4.1.1.1", "1.2.3.11", "not-analysed", None, f"NOT ANALYSED; {ODD}"),
    )
    whole = ResultSummary(
        format=1,
        version=1,
        made_at="2026-11-25T10:20:30+01:00",
        patient=PatientSummary("P|1", "HOSP^A", "Müller^O&A^B^Dr.^III=山田^太郎=やまだ^たろう", "19700102", "F"),
        order=OrderSummary("ACC~1", "RIS", "PL\\1", "FI-1"),
        study=StudySummary("1.2.3", "S1", "20261125", "101112.5", ODD, CodeSummary("WR", "99LOCAL", "Wrist & hand")),
        outcome="positive",
        probability=0.9312,
        reason_code="",
        reason_text="",
        narrative=NARRATIVE,
        views=views,
        algorithm=AlgorithmSummary("compact", "0.2.0", "M & Co", "a" * 64, "2.25.7", demonstration=False),
    )
    return replace(whole, **changes)


def writer(**changes: Any) -> Callable[[Path, str, int], tuple[()]]:
    """Return what writes a result in brief, and nothing else, into a version's folder."""

    def write(folder: Path, study: str, version: int) -> tuple[()]:
        found = a_summary(version=version, **changes)
        found = replace(found, study=replace(found.study, study_instance_uid=study))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / SUMMARY_FILE).write_text(json.dumps(asdict(found), ensure_ascii=False), encoding="utf-8")
        return ()

    return write
