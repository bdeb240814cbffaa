from __future__ import annotations

import io
import os
import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import ImageFont

from dicom_node.core.decision import Policy
from dicom_node.core.findings import Reason, ReasonCode
from dicom_node.part10.writer import encode
from dicom_node.report import page as page_module
from dicom_node.report import secondary_capture
from dicom_node.report.canvas import squared
from dicom_node.report.drawing import BACKGROUND, Column, font, shortened, width_of, wrapped
from dicom_node.report.narrative import WORDS
from dicom_node.report.package import compose
from dicom_node.report.page import summary_page
from dicom_node.report.probability_scale import applied, label_starts, thresholds
from tests.conformance import report_cases as cases

ALL = cases.outcomes()


JPEG_LS = "1.2.840.10008.1.2.4.80"


def pages(request):
    """Return the uncompressed pages of a request's result, summary first."""
    made = [item.dataset for item in compose(request) if item.kind == "sc"]
    return [dataset for dataset in made if dataset.file_meta.TransferSyntaxUID != JPEG_LS]


def pixels(dataset):
    flat = np.frombuffer(dataset.PixelData, np.uint8)[: dataset.Rows * dataset.Columns * 3]
    return flat.reshape(dataset.Rows, dataset.Columns, 3)


@pytest.mark.parametrize("name", ALL)
def test_the_order_is_summary_heatmaps_states_report(name):
    objects = compose(ALL[name])
    kinds = [made.kind for made in objects]
    assert kinds[-4:] == ["sr", "sr-33", "sr-22", "sr-11"]
    assert kinds[:-4] == sorted(kinds[:-4], key=["sc", "pr"].index)
    assert kinds[0] == "sc"
    captures = pages(ALL[name])
    assert [capture.InstanceNumber for capture in captures] == list(range(1, len(captures) + 1))
    assert len({capture.SeriesInstanceUID for capture in captures}) == 1
    for made in objects:
        assert made.dataset.SeriesDescription.startswith(f"AI: {WORDS[ALL[name].finding.outcome]} - fracture")
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
    assert len(pages(ALL[name])) == 1 + count


def test_a_capture_says_how_it_was_made():
    summary, heatmap = pages(ALL["positive"])
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


def test_a_heatmap_over_a_lossy_picture_says_so():
    """Once lost, always lost (PS3.3 C.7.6.1.1.5); the summary page and a sound picture say nothing of it."""
    lossy = {"LossyImageCompression": "01", "LossyImageCompressionRatio": ["9.5", "2"]}
    summary, heatmap = pages(cases.request(cases.view(cases.P, cases.header(**lossy))))
    assert heatmap.LossyImageCompression == "01"
    assert [float(ratio) for ratio in heatmap.LossyImageCompressionRatio] == [9.5, 2.0]
    sound = cases.view(cases.P, cases.header(LossyImageCompression="00"))
    for page in (summary, *pages(cases.request(sound))):
        assert "LossyImageCompression" not in page


def test_an_unpaired_body_part_has_no_side():
    assert "Laterality" not in pages(ALL["not-analysed-scope"])[0]


def test_views_of_two_sides_keep_their_own():
    left = cases.view(cases.P, cases.header(1, ImageLaterality="L"))
    right = cases.view(cases.P, cases.header(2, ImageLaterality="R"))
    summary, first, second = pages(cases.request(left, right))
    assert summary.Laterality in (None, "")
    assert (first.ImageLaterality, second.ImageLaterality) == ("L", "R")
    assert "Laterality" not in first


@pytest.mark.parametrize("name", ["positive", "four-views", "no-model"])
def test_each_page_is_offered_compressed_first_and_loses_nothing(name):
    slots: dict[str, list] = {}
    for made in compose(ALL[name]):
        if made.kind == "sc":
            slots.setdefault(made.slot, []).append(made)
    for packed, plain in slots.values():
        assert packed.sop_instance_uid == plain.sop_instance_uid == plain.dataset.SOPInstanceUID
        assert packed.dataset.file_meta.TransferSyntaxUID == JPEG_LS
        assert len(packed.dataset.PixelData) * 3 < len(plain.dataset.PixelData)
        back = pydicom.dcmread(io.BytesIO(encode(packed.dataset)))
        assert (back.pixel_array == pixels(plain.dataset)).all()
        for dataset in (packed.dataset, plain.dataset):
            del dataset.PixelData
        assert packed.dataset == plain.dataset


def test_a_codestream_has_no_header_but_its_own():
    packed = compose(ALL["positive"])[0].dataset
    stream = next(pydicom.encaps.generate_frames(packed.PixelData, number_of_frames=1))
    assert stream.startswith(b"\xff\xd8\xff\xf7")
    scan = stream.index(b"\xff\xda")
    assert stream[scan + 12] == 2, "samples interleaved pixel by pixel"


def test_a_page_that_cannot_be_compressed_is_still_written():
    noise = np.random.default_rng(3).integers(0, 256, (301, 203, 3)).astype(np.uint8)
    described = pages(ALL["positive"])[0]
    described.Rows, described.Columns = noise.shape[:2]
    packed = secondary_capture._compressed(described, *secondary_capture._streams([noise]))
    assert (pydicom.dcmread(io.BytesIO(encode(packed))).pixel_array == noise).all()


def test_compression_can_be_turned_off():
    syntaxes = {made.dataset.file_meta.TransferSyntaxUID for made in compose(ALL["uncompressed"])}
    assert syntaxes == {"1.2.840.10008.1.2.1"}


def test_no_name_and_no_patient_id_reaches_a_picture(monkeypatch):
    lines = written(monkeypatch, lambda: compose(ALL["four-views"]))
    assert lines
    text = " ".join(lines)
    for private in ("Tester", "Anna", "PID-1", "ACC1", "Refer", "19700102", "1970"):
        assert private not in text


@pytest.mark.parametrize("name", ALL)
def test_the_summary_page_keeps_its_margins_clear(name):
    page = summary_page(ALL[name])
    side = page.shape[0]
    assert page.shape[1] == side >= page_module.WIDTH
    above, below = page[11 : side // 10], page[-side * 8 // 100 :]
    for strip in (page[11:, :38], page[11:, -38:], above, below):
        assert (strip == page[-1, -1]).all()
    assert not (page[side // 10 : side // 5] == page[-1, -1]).all()


@pytest.mark.parametrize(("rows", "columns"), [(1280, 1024), (1280, 500), (800, 1280), (400, 300), (1000, 1000)])
def test_all_pages_are_squares_of_one_size_without_words_where_viewers_write_theirs(rows, columns):
    made = pages(cases.request(*cases.views(cases.P, cases.I, rows=rows, columns=columns)))
    side = made[0].Rows
    assert {(page.Rows, page.Columns) for page in made} == {(side, side)}
    assert side >= page_module.WIDTH
    for page in made[1:]:
        legend = pixels(page)[:, -side // 5 :]
        assert (legend[-side * 8 // 100 :] == legend[-1, -1]).all()
        assert rows < columns or (legend[: side // 10] == legend[-1, -1]).all()


def test_the_largest_page_keeps_its_pixels_and_a_smaller_one_fills_as_much():
    large = np.random.default_rng(1).integers(0, 256, (60, 100, 3)).astype(np.uint8)
    small = np.full((20, 10, 3), 200, np.uint8)
    first, second = squared([large, small])
    assert first.shape == second.shape == (100, 100, 3)
    assert (first[20:80] == large).all()
    assert (first[:20] == BACKGROUND).all()
    assert (second[:, 25:75] == 200).all()
    assert (second[:, :25] == BACKGROUND).all()


def written(monkeypatch, make):
    """Return every line that a page writes, as it is written."""
    lines: list[str] = []
    monkeypatch.setattr("dicom_node.report.drawing.printable", lambda text: lines.append(text) or text)
    make()
    return lines


#: Every sentence that a view may be given as its reason, the longest ones first.
REASONS = (
    "the model had too few fractures of this body region to certify a threshold for it",
    "the evidence does not lie on a plausible place, so it may come from an artefact",
    "the image states no body part, which the model's intended use demands",
)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 6, 8])
@pytest.mark.parametrize("reason", REASONS)
def test_the_longest_reasons_are_read_whole(monkeypatch, count, reason):
    views = [
        cases.view(
            cases.I, cases.header(number, BodyPartExamined="HAND"), reason=Reason(ReasonCode.NOT_CERTIFIED, reason)
        )
        for number in range(1, count + 1)
    ]
    lines = written(monkeypatch, lambda: summary_page(cases.request(*views)))
    assert not [line for line in lines if line.endswith("...")]


def test_views_without_a_picture_on_a_full_page_are_named_with_their_answer(monkeypatch):
    views = cases.views(*[cases.N] * 9, cases.P, cases.I, rows=64, columns=64)
    lines = written(monkeypatch, lambda: summary_page(cases.request(*views)))
    assert "Not pictured: view 7 NEGATIVE  4.1 %, 8 NEGATIVE  4.1 %, 9 NEGATIVE  4.1 %".replace("  ", " ") in lines


def test_every_view_of_a_study_of_thirty_is_named_with_its_answer(monkeypatch):
    drawn = []
    line = Column.line
    monkeypatch.setattr(
        Column, "line", lambda *given, **more: drawn.append((given[0].y, given[1])) or line(*given, **more)
    )
    summary_page(cases.request(*cases.views(*[cases.P] * 30, rows=64, columns=64)))
    words = " ".join(text for _, text in drawn).replace("  ", " ")
    assert [number for number in range(9, 31) if f" {number} POSITIVE 87.3 %" not in words] == []
    first, last = (next(y for y, text in drawn if text.startswith(f"View {number}:")) for number in (1, 8))
    assert max(y for y, text in drawn if " POSITIVE 87.3 %" in text) < first < last < drawn[-1][0]


def _names_map(line):
    return line.startswith("View ") and ", map: image " in line


def test_a_row_says_which_image_its_map_is(monkeypatch):
    lines = written(monkeypatch, lambda: summary_page(ALL["four-views"]))
    assert [line.partition(", map: ")[2] for line in dict.fromkeys(lines) if _names_map(line)] == ["image 2", "image 3"]
    assert [page.InstanceNumber for page in pages(ALL["four-views"])] == [1, 2, 3]


def test_a_long_name_of_a_view_leaves_room_for_the_place_of_its_map(monkeypatch):
    named = {"BodyPartExamined": "CALCANEUS", "ImageLaterality": "B", "ViewPosition": "OBLIQUE", "rows": 64}
    views = [cases.view(cases.I, cases.header(number, **named)) for number in range(1, 9)]
    lines = written(monkeypatch, lambda: summary_page(cases.request(*views)))
    assert [line.rpartition(" ")[2] for line in dict.fromkeys(lines) if _names_map(line)] == list("23456789")


def test_no_line_of_a_page_is_cut_in_a_time_zone_with_a_long_name(monkeypatch):
    source = cases.header(rows=1280, columns=1280, TimezoneOffsetFromUTC="-0330")
    when = datetime(2026, 8, 28, 8, 38, 48, tzinfo=timezone.utc)
    request = cases.request(cases.view(cases.P, source), version=2, made_at=when)
    lines = written(monkeypatch, lambda: compose(request))
    assert "UTC-03:30" in " ".join(lines)
    assert not [line for line in lines if line.endswith("...")]


def test_a_later_version_says_what_it_supersedes(monkeypatch):
    lines = written(monkeypatch, lambda: compose(ALL["version-2"]))
    assert sum("supersedes version 1" in line for line in lines) >= 2


@pytest.mark.parametrize("count", [1, 2, 4, 5, 8, 9, 30])
def test_any_number_of_views_fits(count):
    outcomes = [(cases.N, cases.P, cases.I, cases.X)[index % 4] for index in range(count)]
    page = summary_page(cases.request(*cases.views(*outcomes, rows=64, columns=64)))
    assert page.shape[0] <= 1500
    assert (page[-20:] == page[-1, -1]).all()


def test_long_words_stay_in_their_boxes():
    long = Reason(ReasonCode.BETWEEN_THRESHOLDS, "reasons " * 80 + "x" * 300)
    model = replace(cases.MODEL, name="model-" * 40, version="9" * 64, manufacturer="maker " * 30, demonstration=True)
    view = cases.view(cases.I, model=model, reason=long)
    request = cases.request(view, model=model, version=12)
    page = summary_page(request)
    for strip in (page[11:, :38], page[11:, -38:], page[-20:]):
        assert (strip == strip[-1, -1]).all()
    legend = pixels(pages(request)[1])
    assert (legend[:, -12:] == legend[-1, -1]).all()
    assert (legend[-8:, -300:] == legend[-1, -1]).all()


@pytest.mark.parametrize("low", [0.0, 0.01, 0.5, 0.97, 1.0])
@pytest.mark.parametrize("high", [0.0, 0.02, 0.51, 0.98, 1.0])
def test_threshold_labels_never_overlap(low, high):
    gate = replace(cases.GATE, p_low=min(low, high), p_high=max(low, high))
    marks = thresholds(gate, gate.p_low)
    first, second = label_starts(marks, 40, 984)
    assert first >= 40
    assert first + width_of(marks[0][1], 16) < second
    assert second + width_of(marks[1][1], 16) <= 984 + 1


def test_the_localisation_policy_has_one_threshold():
    gate = replace(cases.GATE, policy=Policy.LOCALISATION)
    assert len(thresholds(gate, 0.1)) == 1
    assert len(label_starts(thresholds(gate, 0.1), 40, 984)) == 1


def test_the_thresholds_drawn_are_those_of_the_likeliest_views_region():
    assert thresholds(cases.GATE, 0.04)[0] == (0.04, "negative below 4.0 %")
    assert thresholds(cases.GATE, 0.9)[1][0] == 0.9
    assert thresholds(cases.GATE, None) == []
    low, high = cases.view(cases.P), cases.view(cases.N)
    low = replace(low, finding=replace(low.finding, negative_below=0.03))
    assert applied(cases.request(low, high)) == 0.03


_DIGEST = """
import hashlib, sys
from dicom_node.part10.writer import encode
from dicom_node.report.package import compose
from tests.conformance import report_cases as cases
made = b"".join(encode(item.dataset) for item in compose(cases.outcomes()["four-views"]))
sys.stdout.write(hashlib.sha256(made).hexdigest())
"""


def test_two_processes_make_the_same_bytes():
    root = Path(__file__).resolve().parents[3]
    digests = {
        subprocess.run(
            [sys.executable, "-c", _DIGEST],
            cwd=root,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1
    assert len(digests.pop()) == 64


def test_the_font_comes_with_pillow_and_is_laid_out_without_the_systems_libraries():
    used = font(20)
    assert isinstance(used, ImageFont.FreeTypeFont)
    assert used.getname() == ("Aileron", "Regular")
    assert used.layout_engine == ImageFont.Layout.BASIC


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
    with pytest.raises(ValueError, match="at least one image"):
        replace(ALL["positive"], views=())
    with pytest.raises(ValueError, match="time zone"):
        replace(ALL["positive"], made_at=cases.MADE.replace(tzinfo=None))
