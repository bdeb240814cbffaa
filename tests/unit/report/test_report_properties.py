"""Whatever is put into a report comes out of each of its rungs, read by pydicom and by highdicom."""

from __future__ import annotations

import io
import warnings
from dataclasses import replace

import highdicom
import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag

from dicom_node.core.findings import Localisation, Outcome, Reason, ReasonCode, Region
from dicom_node.core.identifiers import derived_uid
from dicom_node.part10.writer import encode
from dicom_node.report import codes
from dicom_node.report.agreement import require_same_identity
from dicom_node.report.identity import printable
from dicom_node.report.narrative import WORDS as WORDS_OF
from dicom_node.report.narrative import shown_regions
from dicom_node.report.package import SourceView, compose
from dicom_node.report.provenance import UNNAMED
from dicom_node.report.request import BASIC_TEXT_SR, SECONDARY_CAPTURE, ResultObject
from dicom_node.report.structured_report import structured_reports
from tests.conformance import report_cases as cases

FEW = settings(
    max_examples=5,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
SHARE = st.floats(0.0, 1.0)
WORDS = st.text(st.characters(), max_size=40)
POINT = st.tuples(st.floats(-500.0, 2000.0, width=32), st.floats(-500.0, 2000.0, width=32))
REGION = st.builds(Region, st.lists(POINT, max_size=60).map(tuple))
CHARACTER_SETS = st.sampled_from(
    [
        {},
        *(
            {"SpecificCharacterSet": n}
            for n in ("ISO_IR 100", "ISO_IR 192", "GB18030", "ISO_IR 999", ["", "ISO 2022 IR 87"])
        ),
    ]
)
MODEL = st.builds(
    lambda name, value: replace(cases.MODEL, name=name or "m", parameters=(("calibration", value),)), WORDS, WORDS
)


@st.composite
def views(draw, number, model):
    outcome = draw(st.sampled_from(Outcome))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = cases.header(number, **draw(CHARACTER_SETS))
    code = st.sampled_from(ReasonCode)
    reason = Reason(draw(code), draw(WORDS)) if outcome in {cases.I, cases.X} else None
    parts = {} if reason is None else {"reason": reason}
    found = cases.finding(source.SOPInstanceUID, outcome, model, **parts)
    if outcome is not cases.X:
        where = Localisation(draw(SHARE), draw(SHARE), draw(SHARE), (1.0, 2.0), on_border=False, trusted=True)
        found = replace(
            found,
            probability=draw(SHARE),
            localisation=draw(st.sampled_from([where, replace(where, trusted=False), None])),
            regions=tuple(draw(st.lists(REGION, max_size=2))),
            negative_below=draw(st.sampled_from([None, 0.25])),
        )
    return SourceView(source, found, None, None)


@st.composite
def requests(draw):
    model = draw(MODEL)
    count = draw(st.integers(1, 6))
    return cases.request(*(draw(views(number, model)) for number in range(1, count + 1)), model=model)


def reports(request):
    """The rungs of a request, with a heatmap for every view that has an answer."""
    heatmaps = {
        view.finding.sop_instance_uid: derived_uid("map", view.finding.sop_instance_uid)
        for view in request.views
        if view.finding.outcome is not cases.X
    }
    captures = [ResultObject("sc", "sc-1", SECONDARY_CAPTURE, uid, "1.2.3", Dataset()) for uid in heatmaps.values()]
    return structured_reports(request, captures, heatmaps), heatmaps


def items(parent, name, *types):
    return [
        item
        for item in parent.get("ContentSequence") or []
        if (item.ConceptNameCodeSequence[0].get("CodeValue") == name.value) and (not types or item.ValueType in types)
    ]


def coded(parent, name):
    return [item.ConceptCodeSequence[0].CodeValue for item in items(parent, name, "CODE")]


def texts(parent, name):
    return [item.TextValue for item in items(parent, name, "TEXT")]


def numbers(parent, name):
    """The numbers of a name, which a Basic Text SR holds as text."""
    found = [float(item.MeasuredValueSequence[0].NumericValue) for item in items(parent, name, "NUM")]
    return found + [float(text.split()[0]) for text in texts(parent, name)]


def targets(parent, name):
    return [item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in items(parent, name, "IMAGE")]


def outlines(parent):
    """The points of each outline, from coordinates or from words."""
    written = [list(item.GraphicData) for item in items(parent, codes.IMAGE_REGION, "SCOORD")]
    told = [text.partition("through ")[2].replace(" ", ",").split(",") for text in texts(parent, codes.IMAGE_REGION)]
    return [np.array(points, dtype=np.float64).reshape(-1, 2) for points in (*written, *told)]


def expected_outline(region):
    """The region within the image of 800 rows and 600 columns, None where nothing is left to draw."""
    points = [(round(min(max(x, 0.0), 600), 2), round(min(max(y, 0.0), 800), 2)) for x, y in region.points]
    points = [point for n, point in enumerate(points) if n == 0 or point != points[n - 1]]
    if points and points[0] != points[-1]:
        points.append(points[0])
    return np.array(points) if len(points) >= 4 else None


def check_finding(group, finding):
    """Compare a study's or a view's group with its finding."""
    assert coded(group, codes.OUTCOME) == [codes.OUTCOMES[finding.outcome].value]
    analysed = finding.outcome is not cases.X
    assert coded(group, codes.FINDING) == ([codes.FRACTURE.value] if analysed else [])
    assert coded(group, codes.PRESENCE) == ([codes.PRESENCE_OF[finding.outcome].value] if analysed else [])
    assert numbers(group, codes.PROBABILITY) == ([] if not analysed else [round(100 * finding.probability, 2)])
    reason = finding.reason
    assert coded(group, codes.REASON) == ([codes.REASONS[reason.code].value] if reason else [])
    words = [] if reason is None else [printable(reason.text) or codes.REASONS[reason.code].meaning]
    assert texts(group, codes.REASON) == words


def check_view(group, view, heatmaps):
    finding = view.finding
    check_finding(group, finding)
    where = finding.localisation
    measured = [] if where is None else [where.entropy, 100 * where.area, 100 * where.out_of_body]
    read = [n for name in (codes.ENTROPY, codes.AREA, codes.OUT_OF_BODY) for n in numbers(group, name)]
    assert read == [round(value, 4) for value in measured]
    assert targets(group, codes.SOURCE_OF_MEASUREMENT) == [finding.sop_instance_uid]
    assert targets(group, codes.VISUAL_EXPLANATION) == [
        uid for source, uid in heatmaps.items() if source == finding.sop_instance_uid
    ]


def check(sr, request, heatmaps):
    (findings,), (algorithm,) = items(sr, codes.FINDINGS), items(sr, codes.ALGORITHM)
    groups = items(findings, codes.MEASUREMENT_GROUP)
    check_finding(groups[0], request.finding)
    (comment,) = texts(groups[0], codes.COMMENT)
    assert comment.startswith(f"{WORDS_OF[request.finding.outcome]}: ")
    assert comment.startswith("POSITIVE: fracture suspected") == (request.finding.outcome is cases.P)
    assert texts(findings, codes.COMMENT) == [comment]
    told = texts(algorithm, codes.ALGORITHM_PARAMETERS)
    assert printable(f"calibration={request.finding.model.parameters[0][1]}") in told
    assert texts(groups[0], codes.ALGORITHM_NAME) == [printable(request.finding.model.name) or UNNAMED]
    regions = []
    for group, view in zip(groups[1:], request.views, strict=True):
        check_view(group, view, heatmaps)
        shown = [expected_outline(region) for region in shown_regions(view.finding)]
        regions += [(points, view.finding.sop_instance_uid) for points in shown if points is not None]
    measured = items(sr, codes.IMAGING_MEASUREMENTS)
    found = [group for holder in measured for group in items(holder, codes.MEASUREMENT_GROUP)]
    assert len(found) == len(regions)
    for group, (points, source) in zip(found, regions, strict=True):
        (outline,) = outlines(group)
        assert outline == pytest.approx(points, abs=1e-3)
        assert (outline[0] == outline[-1]).all()
        nested = [target for item in items(group, codes.IMAGE_REGION) for target in targets(item, codes.SOURCE_IMAGE)]
        assert nested + targets(group, codes.SOURCE_IMAGE) == [source]
        assert targets(group, codes.VISUAL_EXPLANATION) == [heatmaps[source]]


def check_by_highdicom(data, request):
    content = highdicom.sr.srread(io.BytesIO(data)).content
    assert isinstance(content, highdicom.sr.MeasurementReport)
    (holder,) = content[0].ContentSequence.find(codes.FINDINGS)
    results = holder.ContentSequence.find(codes.MEASUREMENT_GROUP)
    groups = [highdicom.sr.MeasurementsAndQualitativeEvaluations.from_sequence([group]) for group in results]
    findings = [request.finding, *(view.finding for view in request.views)]
    for group, finding in zip(groups, findings, strict=True):
        measured = group.get_measurements(name=codes.PROBABILITY)
        expected = [] if finding.probability is None else [round(100 * finding.probability, 2)]
        assert [float(item.value) for item in measured] == expected
        (outcome,) = group.get_qualitative_evaluations(name=codes.OUTCOME)
        assert outcome.value == codes.OUTCOMES[finding.outcome]
    assert len({group.tracking_uid for group in groups}) == len(groups)
    for group in content.get_planar_roi_measurement_groups():
        assert group.roi.GraphicType == "POLYLINE"


@pytest.mark.filterwarnings("ignore")
@FEW
@given(requests())
def test_every_value_comes_back_from_every_rung(request_):
    made, heatmaps = reports(request_)
    for rung in made:
        data = encode(rung.dataset)
        check(pydicom.dcmread(io.BytesIO(data)), request_, heatmaps)
        if rung.sop_class_uid != BASIC_TEXT_SR:
            check_by_highdicom(data, request_)
    assert encode(reports(request_)[0][0].dataset) == encode(made[0].dataset)


TEXTS = """PatientName PatientID PatientBirthDate PatientSex PatientAge AccessionNumber StudyID StudyDate StudyTime
StudyDescription ReferringPhysicianName SpecificCharacterSet TimezoneOffsetFromUTC BodyPartExamined ViewPosition
ImageLaterality Laterality IssuerOfPatientID Modality Rows Columns PatientOrientation LossyImageCompressionRatio
PatientIdentityRemoved DeidentificationMethod SeriesInstanceUID SOPClassUID""".split()  # noqa: SIM905
NESTED = """CodeValue CodingSchemeDesignator CodeMeaning LongCodeValue LocalNamespaceEntityID UniversalEntityID
UniversalEntityIDType IdentifierTypeCode RequestedProcedureID AccessionNumber StudyInstanceUID
RequestedProcedureDescription PlacerOrderNumberImagingServiceRequest""".split()  # noqa: SIM905
SEQUENCES = """RequestAttributesSequence IssuerOfAccessionNumberSequence IssuerOfPatientIDQualifiersSequence
ProcedureCodeSequence AnatomicRegionSequence ViewCodeSequence DeidentificationMethodCodeSequence""".split()  # noqa: SIM905
BYTES = st.binary(max_size=90) | st.sampled_from(
    [b"", b"20260230", b"2026.02.03", b"25:99", b"A=B=C=D=E", b"a^b^c^d^e^f^g", b"1.2.03.", b"x" * 90, b"A\\B", b"*"]
)


def raw(keyword, value):
    padded = value + b" " * (len(value) % 2)
    return RawDataElement(
        tag=Tag(keyword),
        VR=dictionary_VR(keyword),
        length=len(padded),
        value=padded,
        value_tell=0,
        is_implicit_VR=False,
        is_little_endian=True,
    )


def nested(values):
    item = Dataset()
    for keyword, value in values.items():
        item[Tag(keyword)] = raw(keyword, value)
    return item


@pytest.mark.filterwarnings("ignore")
@settings(parent=FEW, max_examples=15)
@given(
    st.dictionaries(st.sampled_from(TEXTS), BYTES, max_size=8),
    st.sets(st.sampled_from(TEXTS), max_size=8),
    st.dictionaries(
        st.sampled_from(SEQUENCES),
        st.lists(st.dictionaries(st.sampled_from(NESTED), BYTES, max_size=4), max_size=2),
        max_size=3,
    ),
)
def test_no_source_attribute_stops_a_result_or_becomes_another_patients(tmp_path_factory, changed, gone, sequences):
    source = cases.header()
    for keyword in gone:
        source.pop(Tag(keyword), None)
    for keyword, value in changed.items():
        source[Tag(keyword)] = raw(keyword, value)
    for keyword, found in sequences.items():
        setattr(source, keyword, Sequence([nested(values) for values in found]))
    stored = tmp_path_factory.mktemp("mutated") / "source.dcm"
    pydicom.dcmwrite(stored, source, implicit_vr=False, little_endian=True)
    header = pydicom.dcmread(stored, force=True)
    view = SourceView(header, cases.finding(derived_uid("test", "image", "1"), cases.I), None, None)
    made = compose(cases.request(view))
    for number, item in enumerate(made):
        path = stored.with_name(f"{number}.dcm")
        path.write_bytes(encode(item.dataset))
        require_same_identity(cases.STUDY, header, path)
