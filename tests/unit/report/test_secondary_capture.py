from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pydicom
import pytest

from dicom_node.core.decision import Policy
from dicom_node.core.findings import Reason, ReasonCode
from dicom_node.part10.writer import encode
from dicom_node.report import page as page_module
from dicom_node.report.drawing import shortened, width_of, wrapped
from dicom_node.report.narrative import WORDS
from dicom_node.report.package import ReportOptions, compose
from dicom_node.report.page import summary_page
from tests.conformance import report_cases as cases

ALL = cases.outcomes()


@pytest.mark.parametrize("name", ALL)
def test_the_order_is_summary_heatmaps_report(name):
    objects = compose(ALL[name])
    kinds = [made.kind for made in objects]
    assert kinds == ["sc"] * (len(kinds) - 4) + ["sr", "sr-33", "sr-22", "sr-11"]
    captures = [made.dataset for made in objects if made.kind == "sc"]
    assert [capture.InstanceNumber for capture in captures] == list(range(1, len(captures) + 1))
    assert len({capture.SeriesInstanceUID for capture in captures}) == 1
    for made in objects:
        assert made.dataset.SeriesDescription.startswith(f"AI FRACTURE: {WORDS[ALL[name].finding.outcome]}")
        assert made.dataset.SOPInstanceUID == made.sop_instance_uid


@pytest.mark.parametrize("name", ALL)
def test_the_same_request_gives_the_same_bytes(name):
    first, second = ([encode(made.dataset) for made in compose(ALL[name])] for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("positive", 1),
        ("negative", 0),
        ("inconclusive", 1),
        ("negative-with-heatmap", 1),
        ("four-views", 2),
        ("no-model", 0),
    ],
)
def test_only_views_with_something_to_show_get_a_heatmap(name, count):
    assert sum(made.kind == "sc" for made in compose(ALL[name])) == 1 + count


def test_a_capture_says_how_it_was_made():
    summary, heatmap = (made.dataset for made in compose(ALL["positive"])[:2])
    for capture in (summary, heatmap):
        assert list(capture.ImageType) == ["DERIVED", "SECONDARY"]
        assert (capture.ConversionType, capture.BurnedInAnnotation) == ("WSD", "YES")
        assert (capture.PhotometricInterpretation, capture.BitsStored) == ("RGB", 8)
        assert (
            capture.SourceImageSequence[0].ReferencedSOPInstanceUID == ALL["positive"].views[0].finding.sop_instance_uid
        )
        assert capture.Laterality == "R"
        for absent in ("AcquisitionTime", "PixelSpacing", "ImagePositionPatient", "ImagerPixelSpacing"):
            assert absent not in capture
        assert len(capture.PixelData) == capture.Rows * capture.Columns * 3 + capture.Rows * capture.Columns * 3 % 2
    assert list(heatmap.PatientOrientation) == ["L", "F"]
    assert not summary.PatientOrientation


def test_an_unpaired_body_part_has_no_side():
    assert "Laterality" not in compose(ALL["not-analysed-scope"])[0].dataset


def test_views_of_two_sides_keep_their_own():
    left = cases.view(cases.P, cases.header(1, ImageLaterality="L"))
    right = cases.view(cases.P, cases.header(2, ImageLaterality="R"))
    summary, first, second = (made.dataset for made in compose(cases.request(left, right))[:3])
    assert summary.Laterality in (None, "")
    assert (first.ImageLaterality, second.ImageLaterality) == ("L", "R")
    assert "Laterality" not in first


def test_run_length_encoding_loses_nothing():
    plain, packed = compose(ALL["positive"])[0].dataset, compose(ALL["rle"])[0].dataset
    back = pydicom.dcmread(io.BytesIO(encode(packed)))
    assert len(packed.PixelData) < len(plain.PixelData)
    assert (back.pixel_array == np.frombuffer(plain.PixelData, np.uint8).reshape(plain.Rows, plain.Columns, 3)).all()
    assert packed.SOPInstanceUID == plain.SOPInstanceUID


def test_no_name_and_no_patient_id_reaches_a_picture(monkeypatch):
    written: list[str] = []
    for module in ("dicom_node.report.drawing.printable",):
        monkeypatch.setattr(module, lambda text: written.append(text) or text)
    compose(ALL["four-views"])
    assert written
    text = " ".join(written)
    for private in ("Tester", "Anna", "PID-1", "ACC1", "Refer", "19700102", "1970"):
        assert private not in text


@pytest.mark.parametrize("name", ALL)
def test_the_summary_page_keeps_its_margins_clear(name):
    page = summary_page(ALL[name])
    assert page.shape[1] == page_module.WIDTH
    assert page.shape[0] >= page_module.WIDTH
    for strip in (page[11:, :38], page[11:, -38:], page[-20:]):
        assert (strip == strip[-1, -1]).all()


@pytest.mark.parametrize("count", [1, 2, 4, 5, 8, 9, 30])
def test_any_number_of_views_fits(count):
    outcomes = [(cases.N, cases.P, cases.I, cases.X)[index % 4] for index in range(count)]
    page = summary_page(cases.request(*cases.views(*outcomes, rows=64, columns=64)))
    assert page.shape[0] <= 1300
    assert (page[-20:] == page[-1, -1]).all()


def test_long_words_stay_in_their_boxes():
    long = Reason(ReasonCode.BETWEEN_THRESHOLDS, "reasons " * 80 + "x" * 300)
    model = replace(cases.MODEL, name="model-" * 40, version="9" * 64, manufacturer="maker " * 30, demonstration=True)
    view = cases.view(cases.I, model=model, reason=long)
    request = cases.request(view, model=model, version=12)
    page = summary_page(request)
    for strip in (page[11:, :38], page[11:, -38:], page[-20:]):
        assert (strip == strip[-1, -1]).all()
    heatmap = compose(request)[1].dataset
    picture = np.frombuffer(heatmap.PixelData, np.uint8)[: heatmap.Rows * heatmap.Columns * 3]
    legend = picture.reshape(heatmap.Rows, heatmap.Columns, 3)
    assert (legend[:, -12:] == legend[-1, -1]).all()
    assert (legend[-8:, -300:] == legend[-1, -1]).all()


@pytest.mark.parametrize("low", [0.0, 0.01, 0.5, 0.97, 1.0])
@pytest.mark.parametrize("high", [0.0, 0.02, 0.51, 0.98, 1.0])
def test_threshold_labels_never_overlap(low, high):
    gate = replace(cases.GATE, p_low=min(low, high), p_high=max(low, high))
    marks = page_module._thresholds(gate, gate.p_low)
    first, second = page_module._label_starts(marks, 40, 984)
    assert first >= 40
    assert first + width_of(marks[0][1], 16) < second
    assert second + width_of(marks[1][1], 16) <= 984 + 1


def test_the_localisation_policy_has_one_threshold():
    gate = replace(cases.GATE, policy=Policy.LOCALISATION)
    assert len(page_module._thresholds(gate, 0.1)) == 1
    assert len(page_module._label_starts(page_module._thresholds(gate, 0.1), 40, 984)) == 1


def test_the_thresholds_drawn_are_those_of_the_likeliest_views_region():
    assert page_module._thresholds(cases.GATE, 0.04)[0] == (0.04, "negative below 4.0 %")
    assert page_module._thresholds(cases.GATE, 0.9)[1][0] == 0.9
    assert page_module._thresholds(cases.GATE, None) == []
    low, high = cases.view(cases.P), cases.view(cases.N)
    low = replace(low, finding=replace(low.finding, negative_below=0.03))
    assert page_module._applied(cases.request(low, high)) == 0.03


def test_text_is_cut_with_dots():
    assert shortened("short", 16, 500) == "short"
    assert shortened("x" * 500, 16, 100).endswith("...")
    lines = wrapped("word " * 100, 16, 200, 3)
    assert len(lines) == 3
    assert all(width_of(line, 16) <= 200 for line in lines)


def test_letters_the_font_lacks_do_not_stop_a_page():
    view = cases.view(cases.N, model=replace(cases.MODEL, name="\u6a21\u578b"))
    assert summary_page(cases.request(view, model=view.finding.model)).size


def test_options_and_requests_refuse_what_cannot_be_written():
    with pytest.raises(ValueError, match="secondary captures are written as"):
        ReportOptions(sc_transfer_syntax_uid="1.2.840.10008.1.2.4.50")
    with pytest.raises(ValueError, match="at least one image"):
        replace(ALL["positive"], views=())
    with pytest.raises(ValueError, match="time zone"):
        replace(ALL["positive"], made_at=cases.MADE.replace(tzinfo=None))
