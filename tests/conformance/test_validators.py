"""Every kind of object this node writes, judged by dciodvfy, dcentvfy and dsrdump."""

from __future__ import annotations

import warnings

import pydicom
import pytest

from dicom_node.core.identifiers import is_conformant_uid
from dicom_node.part10.writer import encode
from dicom_node.report.identity import text_of
from dicom_node.report.package import ReportRequest, compose
from tests.conformance import report_cases as cases
from tests.conformance.allowed_warnings import (
    unexplained,
    unexplained_by_dcentvfy,
    unexplained_by_dcmpschk,
    unexplained_by_dsrdump,
)

CASES = cases.outcomes()
ODD = cases.odd_sources()
#: Real sources: extremities, chest and dental images of many makers, and every character set.
_REAL = ("CR", "DX", "IO", "PX", "RG")


def judge(tool, folder, objects):
    for index, made in enumerate(objects):
        path = folder / f"{index}-{made.kind}.dcm"
        path.write_bytes(encode(made.dataset))
        _, lines = tool("dciodvfy", "-new", path)
        assert unexplained(lines) == [], path.name
        if made.kind == "pr":
            status, lines = tool("dcmpschk", path)
            assert status == 0, lines
            assert any("Test passed" in line or "Test failed" in line for line in lines)
            assert unexplained_by_dcmpschk(lines) == []
        if made.kind == "sr":
            status, lines = tool("dsrdump", path)
            assert status == 0, lines
            assert unexplained_by_dsrdump(lines) == []


@pytest.mark.parametrize("name", CASES)
def test_every_outcome(tool, tmp_path, name):
    judge(tool, tmp_path, compose(CASES[name]))


@pytest.mark.parametrize("sop_class", [cases.CR, cases.DX])
@pytest.mark.parametrize("name", ODD)
def test_every_odd_source(tool, tmp_path, name, sop_class):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sources = cases.views(cases.P, cases.I, sop_class=sop_class, **ODD[name])
    judge(tool, tmp_path, compose(cases.request(*sources)))


@pytest.mark.parametrize("sr_class", ["88.11", "88.22", "88.33", "88.34"])
@pytest.mark.parametrize("name", ["positive", "inconclusive", "negative", "no-model"])
def test_every_rung_of_the_sr_ladder(tool, tmp_path, name, sr_class):
    case = CASES[name]
    request = cases.request(
        *case.views, model=case.finding.model, gate=case.gate, sr_sop_class_uid=f"1.2.840.10008.5.1.4.1.1.{sr_class}"
    )
    judge(tool, tmp_path, compose(request)[-1:])


@pytest.mark.parametrize(
    "name", ["positive-two-views", "four-views", "negative-two-views", "not-analysed-failed", "version-2"]
)
def test_results_belong_to_the_same_patient_and_study_as_their_sources(tool, tmp_path, name):
    paths = []
    for index, view in enumerate(CASES[name].views):
        path = tmp_path / f"source-{index}.dcm"
        path.write_bytes(encode(view.header))
        paths.append(path)
    best = {made.slot: made for made in reversed(compose(CASES[name]))}
    for index, made in enumerate(best.values()):
        path = tmp_path / f"result-{index}.dcm"
        path.write_bytes(encode(made.dataset))
        paths.append(path)
    _, lines = tool("dcentvfy", *paths)
    assert unexplained_by_dcentvfy(lines) == []


@pytest.mark.filterwarnings("ignore")
def test_real_sources(tool, tmp_path, shared_data):
    judged = 0
    for path in sorted((shared_data / "dicom").iterdir()):
        try:
            source = pydicom.dcmread(path, stop_before_pixels=True)
        except (pydicom.errors.InvalidDicomError, EOFError, ValueError, OSError, AttributeError, KeyError):
            continue
        modality = text_of(source, "Modality")
        if modality not in _REAL and "charset" not in path.name:
            continue
        uids = [
            text_of(source, name) for name in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID")
        ]
        # A source whose UIDs the validator refuses makes any reference to it an error; nothing may be changed there.
        if not all(is_conformant_uid(uid) and uid.startswith(("1.", "2.")) for uid in uids):
            continue
        view = cases.SourceView(
            source,
            cases.finding(uids[0], cases.P, regions=(cases.box(40, 40),)),
            cases.picture(40, 40),
            cases.letterboxed(40, 40),
        )
        study = cases.request(view)
        folder = tmp_path / str(judged)
        folder.mkdir()
        request = ReportRequest(uids[1], 1, study.made_at, study.finding, study.views, study.gate)
        judge(tool, folder, compose(request))
        judged += 1
    assert judged >= 20
