"""Every kind of object this node writes, judged by dciodvfy, dcentvfy and dsrdump."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor

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
    """Have every object, and so every rung of the report, judged by dciodvfy, and the reports read by dsrdump."""
    paths, reports, states = [], [], []
    for index, made in enumerate(objects):
        path = folder / f"{index}-{made.kind}.dcm"
        path.write_bytes(encode(made.dataset))
        paths.append(path)
        reports += [path] if made.slot == "sr" else []
        states += [path] if made.kind == "pr" else []
    with ThreadPoolExecutor() as pool:  # each is a process of its own
        for path, (_, lines) in zip(paths, pool.map(lambda path: tool("dciodvfy", "-new", path), paths), strict=True):
            assert unexplained(lines) == [], path.name
    for path in states:
        status, lines = tool("dcmpschk", path)
        assert status == 0, lines
        assert any("Test passed" in line or "Test failed" in line for line in lines)
        assert unexplained_by_dcmpschk(lines) == []
    status, lines = tool("dsrdump", *reports)
    assert status == 0, lines
    assert sum(line.endswith("SR Document") for line in lines) == len(reports)
    assert unexplained_by_dsrdump(lines) == []


def unlike(objects):
    """Leave out the two rungs that hold what the first one holds, byte for byte; every outcome is judged with them."""
    return [made for made in objects if made.kind not in {"sr-33", "sr-22"}]


@pytest.mark.parametrize("name", CASES)
def test_every_outcome(tool, tmp_path, name):
    judge(tool, tmp_path, compose(CASES[name]))


@pytest.mark.parametrize("sop_class", [cases.CR, cases.DX])
@pytest.mark.parametrize("name", ODD)
def test_every_odd_source(tool, tmp_path, name, sop_class):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sources = cases.views(cases.P, cases.I, sop_class=sop_class, **ODD[name])
    judge(tool, tmp_path, unlike(compose(cases.request(*sources))))


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
        judge(tool, folder, unlike(compose(request)))
        judged += 1
    assert judged >= 20
