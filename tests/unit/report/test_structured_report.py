from __future__ import annotations

import io
import warnings
from dataclasses import replace

import highdicom
import numpy as np
import pydicom
import pytest
from highdicom.sr import MeasurementsAndQualitativeEvaluations

from dicom_node.core.decision import RegionGate
from dicom_node.core.findings import Outcome, Region
from dicom_node.part10.writer import encode
from dicom_node.report import codes
from dicom_node.report.narrative import in_words
from dicom_node.report.package import compose
from dicom_node.report.reading import describe
from dicom_node.report.request import BASIC_TEXT_SR, SR_LADDER
from dicom_node.report.structured_report import structured_reports
from tests.conformance import report_cases as cases

ALL = cases.outcomes()


@pytest.fixture(scope="module")
def composed():
    return {name: compose(request) for name, request in ALL.items()}


def report(objects):
    return cases.rungs(objects)[0].dataset


def encode_item(item):
    return item.to_json()


def walk(item):
    for child in item.get("ContentSequence") or []:
        yield child
        yield from walk(child)


def named(item, code, value_type=None):
    return [
        child
        for child in item.get("ContentSequence") or []
        if child.ConceptNameCodeSequence[0].CodeValue == code.value and value_type in {None, child.ValueType}
    ]


def groups(sr):
    """The study's group and each view's, then each region's."""
    holders = [*named(sr, codes.FINDINGS), *named(sr, codes.IMAGING_MEASUREMENTS)]
    return [group for holder in holders for group in named(holder, codes.MEASUREMENT_GROUP)]


def coded(group, code):
    return [child.ConceptCodeSequence[0].CodeValue for child in named(group, code, "CODE")]


@pytest.mark.parametrize("name", ALL)
def test_the_report_is_complete_but_nobody_has_verified_it(composed, name):
    sr = report(composed[name])
    assert (sr.CompletionFlag, sr.VerificationFlag, sr.PreliminaryFlag) == ("COMPLETE", "UNVERIFIED", "PRELIMINARY")
    assert sr.Modality == "SR"
    assert sr.SeriesNumber == 9001


@pytest.mark.parametrize("name", ALL)
def test_evidence_lists_every_image_and_every_capture(composed, name):
    (study,) = report(composed[name]).CurrentRequestedProcedureEvidenceSequence
    listed = [
        item.ReferencedSOPInstanceUID
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    ]
    captures = {made.sop_instance_uid for made in composed[name] if made.kind == "sc"}
    sources = [view.finding.sop_instance_uid for view in ALL[name].views]
    assert sorted(listed) == sorted([*captures, *sources])
    referenced = {
        item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        for item in walk(report(composed[name]))
        if item.ValueType == "IMAGE"
    }
    assert referenced <= set(listed)


@pytest.mark.parametrize("name", ALL)
def test_the_study_comes_first_then_each_view_and_each_has_its_tracking_uid(composed, name):
    found = groups(report(composed[name]))
    request = ALL[name]
    assert len(found) >= 1 + len(request.views)
    uids = [item.UID for group in found for item in walk(group) if item.ValueType == "UIDREF"]
    assert len(uids) == len(found) == len(set(uids))
    assert coded(found[0], codes.OUTCOME) == [codes.OUTCOMES[request.finding.outcome].value]


@pytest.mark.parametrize("name", ALL)
def test_presence_says_what_the_outcome_says(composed, name):
    found = groups(report(composed[name]))
    for group, outcome in zip(
        found, [ALL[name].finding.outcome, *(v.finding.outcome for v in ALL[name].views)], strict=False
    ):
        expected = [] if outcome is Outcome.NOT_ANALYSED else [codes.PRESENCE_OF[outcome].value]
        assert coded(group, codes.PRESENCE) == expected
        assert (coded(group, codes.FINDING) == [codes.FRACTURE.value]) == (outcome is not Outcome.NOT_ANALYSED)


@pytest.mark.parametrize("name", ["not-analysed-scope", "not-analysed-failed", "no-model"])
def test_a_study_that_was_not_analysed_has_no_number_anywhere(composed, name):
    sr = report(composed[name])
    assert not [item for item in walk(sr) if item.ValueType in {"NUM", "SCOORD"}]
    assert not [item for item in walk(sr) if item.ValueType == "TEXT" and "%" in item.TextValue]
    assert not [made for made in composed[name] if made.kind == "pr"]
    assert len({made.slot for made in composed[name] if made.kind == "sc"}) == 1


@pytest.mark.parametrize(
    ("name", "summary", "detections"),
    [
        ("positive", "111242", "111222"),
        ("negative", "111241", "111222"),
        ("inconclusive", "111241", "111222"),
        ("inconclusive-skipped", "111243", "111223"),
        ("inconclusive-disagreeing", "111242", "111222"),
        ("four-views", "111244", "111223"),
        ("not-analysed-scope", "111245", "111225"),
        ("no-model", "111245", "111225"),
        ("not-analysed-failed", "111245", "111224"),
    ],
)
def test_the_processing_summary_is_coded(composed, name, summary, detections):
    (evaluations,) = named(report(composed[name]), codes.QUALITATIVE_EVALUATIONS)
    analysed = ALL[name].finding.outcome in codes.PRESENCE_OF
    assert coded(evaluations, codes.PRESENCE) == (
        [codes.PRESENCE_OF[ALL[name].finding.outcome].value] if analysed else []
    )
    assert coded(evaluations, codes.CAD_SUMMARY) == [summary]
    assert coded(evaluations, codes.SUMMARY_OF_DETECTIONS) == [detections]
    reason = ALL[name].finding.reason
    assert coded(evaluations, codes.REASON) == ([codes.REASONS[reason.code].value] if reason else [])
    assert [item.TextValue for item in named(evaluations, codes.REASON, "TEXT")] == ([reason.text] if reason else [])


def test_the_probability_is_a_number_in_percent(composed):
    for group in groups(report(composed["positive"]))[:2]:
        (item,) = named(group, codes.PROBABILITY, "NUM")
        measured = item.MeasuredValueSequence[0]
        assert float(measured.NumericValue) == pytest.approx(87.3)
        assert measured.MeasurementUnitsCodeSequence[0].CodeValue == "%"


def test_a_region_is_a_closed_line_in_original_pixels_with_its_explanation(composed):
    objects = composed["positive"]
    region = groups(report(objects))[-1]
    (outline,) = [item for item in region.ContentSequence if item.ValueType == "SCOORD"]
    points = np.array(outline.GraphicData).reshape(-1, 2)
    assert outline.GraphicType == "POLYLINE"
    assert (points[0] == points[-1]).all()
    assert points == pytest.approx(np.array(ALL["positive"].views[0].finding.regions[0].points))
    source = outline.ContentSequence[0]
    assert source.RelationshipType == "SELECTED FROM"
    assert source.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == ALL["positive"].views[0].finding.sop_instance_uid
    (explanation,) = named(region, codes.VISUAL_EXPLANATION, "IMAGE")
    heatmap = next(made for made in objects if made.slot == "sc-2")
    assert explanation.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == heatmap.sop_instance_uid
    assert explanation.ContentSequence[0].ConceptCodeSequence[0].CodeValue == "130403"


def test_a_localiser_is_not_called_a_class_activation():
    view = cases.view(cases.P)
    view = replace(view, shown_map=replace(view.shown_map, kind="localiser"))
    sr = report(compose(cases.request(view)))
    methods = [
        item.ConceptCodeSequence[0].CodeValue
        for item in walk(sr)
        if item.RelationshipType == "HAS CONCEPT MOD"
        and item.ValueType == "CODE"
        and item.ConceptNameCodeSequence[0].CodeValue == codes.METHOD.value
    ]
    assert methods
    assert set(methods) == {"M-LOCALISER"}


def test_an_untrusted_or_negative_view_gets_no_region():
    untrusted = cases.view(cases.I, regions=(cases.box(800, 600),))
    negative = cases.view(cases.N, regions=(cases.box(800, 600),))
    for view in (untrusted, negative):
        assert not [item for item in walk(report(compose(cases.request(view)))) if item.ValueType == "SCOORD"]


def test_an_outline_too_long_for_explicit_vr_is_thinned_and_stays_closed():
    angles = np.linspace(0.0, 2.0 * np.pi, 20_001)
    circle = Region(tuple((300.0 + 200.0 * float(np.cos(a)), 400.0 + 200.0 * float(np.sin(a))) for a in angles))
    broken = replace(circle, points=(*circle.points, (float("nan"), 1.0)))
    sr = structured_reports(cases.request(cases.view(cases.P, regions=(broken,))), (), {})[0].dataset
    (outline,) = [item for item in walk(pydicom.dcmread(io.BytesIO(encode(sr)))) if item.ValueType == "SCOORD"]
    assert outline["GraphicData"].VR == "FL"
    points = np.array(outline.GraphicData).reshape(-1, 2)
    assert len(points) < 8192
    assert (points[0] == points[-1]).all()
    assert np.hypot(*(points - (300.0, 400.0)).T) == pytest.approx(200.0, abs=0.1)


def test_the_thresholds_of_a_body_region_are_told():
    gate = replace(cases.GATE, regions=(RegionGate("hip", ("HIP",), None), RegionGate("hand", ("HAND",), 0.2)))
    sr = report(compose(cases.request(cases.view(cases.N, negative_below=0.2), gate=gate)))
    (algorithm,) = named(sr, codes.ALGORITHM)
    whole, _, view = (
        {item.TextValue for item in named(group, codes.ALGORITHM_PARAMETERS, "TEXT")}
        for group in (algorithm, *groups(sr))
    )
    assert {"p_low=0.12", "p_low of hip=none certified", "p_low of hand=0.2"} <= whole
    assert "negative below=0.2" in view


def test_every_procedure_of_the_order_is_reported():
    both = [cases.code("36554-4", "LN", "XR Hand"), cases.code("36555-1", "LN", "XR Wrist")]
    sr = report(compose(cases.request(cases.view(cases.N, cases.header(ProcedureCodeSequence=both)))))
    assert coded(sr, codes.PROCEDURE_REPORTED) == ["36554-4", "36555-1"]


def test_a_region_that_leaves_the_image_is_clipped_and_an_empty_one_dropped():
    outside = cases.box(800, 600, at=(0.0, 0.0), size=0.5)
    nothing = cases.box(800, 600, at=(2.0, 2.0), size=0.01)
    sr = report(compose(cases.request(cases.view(cases.P, regions=(outside, nothing)))))
    (outline,) = [item for item in walk(sr) if item.ValueType == "SCOORD"]
    assert min(outline.GraphicData) == 0.0


def test_a_later_version_names_the_one_before_and_keeps_its_tracking_uids():
    first, second = (compose(cases.request(*cases.views(cases.P), version=version)) for version in (1, 2))
    assert not {made.sop_instance_uid for made in first} & {made.sop_instance_uid for made in second}
    for rung, before in zip(cases.rungs(second), ALL["version-2"].predecessors, strict=True):
        (study,) = rung.dataset.PredecessorDocumentsSequence
        (reference,) = study.ReferencedSeriesSequence[0].ReferencedSOPSequence
        assert (reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID) == (
            rung.sop_class_uid,
            before.sop_instance_uid,
        )
    tracked = set()
    for rung in (*cases.rungs(first), *cases.rungs(second)):
        tracked.add(tuple(item.UID for item in walk(rung.dataset) if item.ValueType == "UIDREF"))
    assert not any("PredecessorDocumentsSequence" in rung.dataset for rung in cases.rungs(first))
    assert len(tracked) == 1


def test_a_predecessor_without_the_same_rung_is_named_by_its_best_one():
    request = ALL["version-2"]
    only = replace(request, predecessors=request.predecessors[:1])
    for rung in cases.rungs(compose(only)):
        (series,) = rung.dataset.PredecessorDocumentsSequence[0].ReferencedSeriesSequence
        assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == request.predecessors[0].sop_instance_uid


@pytest.mark.parametrize("name", ALL)
def test_the_rungs_are_alternatives_in_one_series_that_say_the_same(composed, name):
    made = cases.rungs(composed[name])
    assert [rung.sop_class_uid for rung in made] == list(SR_LADDER)
    assert [rung.dataset.SOPClassUID for rung in made] == list(SR_LADDER)
    assert [rung.dataset.SOPInstanceUID for rung in made] == [rung.sop_instance_uid for rung in made]
    assert len({rung.sop_instance_uid for rung in made}) == 4
    assert len({rung.series_instance_uid for rung in made}) == 1
    trees = [[encode_item(item) for item in rung.dataset.ContentSequence] for rung in made[:3]]
    assert trees[0] == trees[1] == trees[2]
    assert describe(made[0].dataset) == describe(made[3].dataset)


def test_the_algorithm_is_named_with_its_parameters_and_device(composed):
    sr = report(composed["positive"])
    (equipment,) = sr.ContributingEquipmentSequence
    assert equipment.DeviceUID == cases.MODEL.device_uid
    (algorithm,) = named(sr, codes.ALGORITHM)
    texts = {item.TextValue for item in walk(algorithm) if item.ValueType == "TEXT"}
    assert {cases.MODEL.name, cases.MODEL.version, "temperature=1.31", "p_high=0.71"} <= texts
    assert f"bundle sha256={cases.MODEL.bundle_sha256}" in texts
    assert "no model" in report(composed["no-model"]).ContributingEquipmentSequence[0].ManufacturerModelName


def test_a_request_becomes_a_referenced_request():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = cases.header(**cases.odd_sources()["request"])
    sr = report(compose(cases.request(cases.view(cases.N, source))))
    assert sr.ReferencedRequestSequence[0].RequestedProcedureID == "RP1"
    assert coded(sr, codes.PROCEDURE_REPORTED) == ["36554-4"]


def test_times_follow_the_sources_time_zone():
    source = cases.header(TimezoneOffsetFromUTC="+0545")
    sr = report(compose(cases.request(cases.view(cases.N, source))))
    assert (sr.ContentDate, sr.ContentTime, sr.TimezoneOffsetFromUTC) == ("20260314", "205426", "+0545")


def test_basic_text_holds_no_number_and_no_coordinate_but_says_the_same(composed):
    for objects in composed.values():
        sr = cases.rungs(objects)[-1].dataset
        assert {item.ValueType for item in walk(sr)} <= {"CONTAINER", "TEXT", "CODE", "UIDREF", "IMAGE"}
        assert "ContentTemplateSequence" not in sr
    assert "Probability: 87.3 %" in describe(cases.rungs(composed["positive"])[-1].dataset)


@pytest.mark.parametrize("name", ALL)
def test_highdicom_reads_its_own_template_back(composed, name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read = highdicom.sr.srread(io.BytesIO(encode(report(composed[name]))))
        (findings,) = read.content[0].ContentSequence.find(codes.FINDINGS)
        found = findings.ContentSequence.find(codes.MEASUREMENT_GROUP)
        for group in found:
            assert MeasurementsAndQualitativeEvaluations.from_sequence([group]).tracking_uid
        assert len(found) == 1 + len(ALL[name].views)
        outlined = read.content.get_planar_roi_measurement_groups()
        assert len(outlined) == sum(len(view.finding.regions) for view in ALL[name].views)
        for region in outlined:
            (probability,) = region.get_measurements(name=codes.PROBABILITY)
            assert probability.value == pytest.approx(87.3)


@pytest.mark.parametrize("name", ALL)
def test_what_is_named_a_measurement_has_coordinates_and_a_title_promises_no_more(composed, name):
    for rung in cases.rungs(composed[name]):
        measured = [
            group
            for holder in named(rung.dataset, codes.IMAGING_MEASUREMENTS)
            for group in named(holder, codes.MEASUREMENT_GROUP)
        ]
        drawn = [group for group in measured if named(group, codes.IMAGE_REGION, "SCOORD")]
        title = rung.dataset.ConceptNameCodeSequence[0].CodeValue
        assert (title == codes.IMAGING_MEASUREMENT_REPORT.value) == bool(drawn)
        assert rung.sop_class_uid == BASIC_TEXT_SR or drawn == measured


@pytest.mark.parametrize("name", ALL)
def test_the_outcome_and_its_sentence_come_before_every_other_content_and_the_parameters_last(composed, name):
    for rung in cases.rungs(composed[name]):
        contained = [item for item in walk(rung.dataset) if item.RelationshipType == "CONTAINS"]
        holder, outcome, sentence, *_ = contained
        assert holder.ConceptNameCodeSequence[0].CodeValue == codes.FINDINGS.value
        assert outcome.ConceptCodeSequence[0].CodeValue == codes.OUTCOMES[ALL[name].finding.outcome].value
        assert sentence.TextValue == in_words(ALL[name].finding)
        assert rung.dataset.ContentSequence[-1].ConceptNameCodeSequence[0].CodeValue == codes.ALGORITHM.value


@pytest.mark.parametrize("name", ALL)
def test_a_report_can_be_read_aloud(composed, name):
    back = pydicom.dcmread(io.BytesIO(encode(report(composed[name]))))
    lines = describe(back)
    finding = ALL[name].finding
    assert lines[0] == f"Outcome: {codes.OUTCOMES[finding.outcome].meaning}"
    assert any(line.startswith("Probability: ") for line in lines) == (finding.probability is not None)
    assert lines[-1] == "Status: complete, unverified, preliminary"


def test_another_report_is_not_misread():
    assert describe(pydicom.Dataset()) == ("not a report of this node: no measurement group",)
