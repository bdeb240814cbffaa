from __future__ import annotations

import warnings
from copy import copy
from dataclasses import replace

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID

from dicom_node.core.findings import Region
from dicom_node.part10.greyscale import grey_table
from dicom_node.part10.writer import encode
from dicom_node.report.heatmap_page import overlaid
from dicom_node.report.package import compose
from dicom_node.report.presentation_state import presentation_states
from tests.conformance import report_cases as cases


def only(request):
    states = presentation_states(request)
    assert len(states) == 1
    return states[0].dataset


def positive(**changes):
    return cases.request(cases.view(cases.P, cases.header(**changes)))


def test_the_region_lies_on_the_original_in_its_own_pixels():
    request = positive(rows=800, columns=600)
    state = only(request)
    annotation = state.GraphicAnnotationSequence[0]
    drawn = annotation.GraphicObjectSequence[0]
    points = np.array(drawn.GraphicData).reshape(-1, 2)
    assert (drawn.GraphicType, drawn.GraphicAnnotationUnits, drawn.GraphicFilled) == ("POLYLINE", "PIXEL", "N")
    assert drawn.NumberOfGraphicPoints == len(points)
    assert (points[0] == points[-1]).all()
    assert points == pytest.approx(np.array(request.views[0].finding.regions[0].points), abs=0.01)
    source = request.views[0].header
    for reference in (
        annotation.ReferencedImageSequence[0],
        state.ReferencedSeriesSequence[0].ReferencedImageSequence[0],
    ):
        assert reference.ReferencedSOPInstanceUID == source.SOPInstanceUID
        assert reference.ReferencedSOPClassUID == source.SOPClassUID
    assert state.ReferencedSeriesSequence[0].SeriesInstanceUID == source.SeriesInstanceUID
    area = state.DisplayedAreaSelectionSequence[0]
    assert list(area.DisplayedAreaBottomRightHandCorner) == [600, 800]


def test_one_line_says_what_it_is_and_who_has_not_seen_it():
    text = only(positive()).GraphicAnnotationSequence[0].TextObjectSequence[0].UnformattedTextValue
    assert text == "AI: possible fracture 87.3 %, not verified by a physician"
    assert len(text) <= 64


def test_an_inconclusive_region_is_not_called_a_fracture():
    view = cases.view(cases.P)
    found = cases.view(cases.I, regions=view.finding.regions).finding
    found = replace(found, localisation=replace(found.localisation, trusted=True))
    text = only(cases.request(replace(view, finding=found))).ContentDescription
    assert text == "AI: inconclusive 46.0 %, not verified by a physician"


@pytest.mark.parametrize("name", ["negative", "inconclusive", "not-analysed-failed", "no-model"])
def test_no_region_no_state(name):
    assert presentation_states(cases.outcomes()[name]) == ()


def test_a_site_may_turn_them_off():
    assert not [
        made for made in compose(cases.request(*cases.views(cases.P), presentation_states=False)) if made.kind == "pr"
    ]


def test_states_have_a_series_of_their_own_and_a_slot_each():
    request = cases.request(*cases.views(cases.P, cases.N, cases.P))
    objects = compose(request)
    states = [made for made in objects if made.kind == "pr"]
    others = {made.series_instance_uid for made in objects if made.kind != "pr"}
    assert [made.slot for made in states] == ["pr-1", "pr-2"]
    assert [made.dataset.InstanceNumber for made in states] == [1, 2]
    assert len({made.series_instance_uid for made in states} - others) == 1
    assert {made.dataset.SeriesNumber for made in states} == {request.options.series_number_base + 2}
    assert len({made.sop_instance_uid for made in states}) == 2


def test_the_text_hangs_below_the_region_and_above_it_at_the_lower_edge():
    def anchor(at):
        view = cases.view(cases.P, regions=(cases.box(800, 600, at=at),))
        return only(cases.request(view)).GraphicAnnotationSequence[0].TextObjectSequence[0].AnchorPoint[1]

    assert anchor((0.4, 0.5)) > 0.4 * 800 + 48
    assert anchor((0.92, 0.5)) < 0.92 * 800 - 48


@pytest.mark.parametrize(
    ("stated", "shape"),
    [
        ({}, [1, 1]),
        ({"PixelAspectRatio": [4, 2]}, [2, 1]),
        ({"ImagerPixelSpacing": ["0.2", "0.1"]}, [2, 1]),
        ({"PixelSpacing": ["0.1", "0.15"], "ImagerPixelSpacing": ["0.2", "0.1"]}, [2, 3]),
        ({"PixelAspectRatio": [0, 1], "PixelSpacing": ["0.1431", "0.1430"]}, [1, 1]),
        ({"PixelSpacing": ["1e99999999", "1"], "ImagerPixelSpacing": ["-1", "1"]}, [1, 1]),
        ({"PixelSpacing": ["0.1"]}, [1, 1]),
    ],
)
def test_the_image_keeps_the_proportions_that_its_source_states(stated, shape):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        request = positive(**stated)
    state = only(request)
    assert list(state.DisplayedAreaSelectionSequence[0].PresentationPixelAspectRatio) == shape
    picture = overlaid(request.views[0])
    assert picture.shape[0] / picture.shape[1] == pytest.approx(800 * shape[0] / (600 * shape[1]), rel=0.01)


def test_a_region_outside_the_image_is_clipped_or_dropped():
    outside = Region(((-90.0, -90.0), (-50.0, -90.0), (-50.0, -50.0), (-90.0, -90.0)))
    assert presentation_states(cases.request(cases.view(cases.P, regions=(outside,)))) == ()


def test_the_window_and_the_rescale_of_the_source_are_kept():
    state = only(
        positive(
            RescaleSlope="0.684",
            RescaleIntercept="200",
            RescaleType="OD REL",
            WindowCenter=["1600", "900"],
            WindowWidth=["2800", "400"],
            VOILUTFunction="SIGMOID",
        )
    )
    voi = state.SoftcopyVOILUTSequence[0]
    assert (float(state.RescaleSlope), float(state.RescaleIntercept), state.RescaleType) == (0.684, 200.0, "US")
    assert (voi.WindowCenter, voi.WindowWidth, voi.VOILUTFunction) == (1600, 2800, "SIGMOID")
    assert state.PresentationLUTShape == "IDENTITY"


@pytest.mark.parametrize(
    "changes", [{"WindowCenter": "40", "WindowWidth": "0"}, {}, {"WindowCenter": "", "WindowWidth": ""}]
)
def test_an_unusable_window_is_not_repeated(changes):
    assert "SoftcopyVOILUTSequence" not in only(positive(**changes))


@pytest.mark.parametrize(
    ("changes", "shape"),
    [
        ({"PhotometricInterpretation": "MONOCHROME1"}, "INVERSE"),
        ({"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"}, "INVERSE"),
        ({"PhotometricInterpretation": "MONOCHROME2", "PresentationLUTShape": "IDENTITY"}, "IDENTITY"),
    ],
)
def test_polarity_is_the_sources(changes, shape):
    assert only(positive(**changes)).PresentationLUTShape == shape


def _lut(first, entries, order="<u2"):
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(entries), first, 12])
    item.add_new("LUTData", "OW", np.array(entries, dtype=order).tobytes())
    return item


@pytest.mark.parametrize("big", [False, True])
def test_tables_are_written_anew_in_little_endian(big):
    entries = [0, 5, 900, 4095]
    source = cases.header(
        BitsStored=12, PixelRepresentation=1, VOILUTSequence=[_lut(-2, entries, ">u2" if big else "<u2")]
    )
    source.file_meta = FileMetaDataset()
    source.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.2" if big else "1.2.840.10008.1.2.1")
    table = only(cases.request(cases.view(cases.P, source))).SoftcopyVOILUTSequence[0].VOILUTSequence[0]
    # A presentation state knows entries of 8 and 16 bits only; as shares of the greatest they are what they were.
    assert list(table.LUTDescriptor) == [4, -2, 16]
    assert np.frombuffer(table.LUTData, "<u2").tolist() == [0, 80, 14403, 65535]


@pytest.mark.parametrize(
    "window",
    [
        {},
        {"WindowCenter": "900", "WindowWidth": "700"},
        {"WindowCenter": "900", "WindowWidth": "700", "VOILUTFunction": "LINEAR_EXACT"},
        {"WindowCenter": "900", "WindowWidth": "700", "VOILUTFunction": "SIGMOID"},
        {"VOILUTSequence": [_lut(0, [*range(0, 8192, 2)])]},
    ],
)
def test_a_modality_table_and_what_follows_it_show_the_same_greys(window):
    source = cases.header(ModalityLUTSequence=[_lut(0, [0, 700, 1000, 4095])], **window)
    state = only(cases.request(cases.view(cases.P, source)))
    assert list(state.ModalityLUTSequence[0].LUTDescriptor) == [4, 0, 16]
    shown = copy(source)
    shown.ModalityLUTSequence = state.ModalityLUTSequence
    for keyword in ("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"):
        shown.pop(keyword, None)
    shown.update((state.get("SoftcopyVOILUTSequence") or [Dataset()])[0])
    codes = np.arange(4.0)
    wanted, found = (
        grey_table(dataset, codes, lambda: codes >= 0, little_endian=True).astype(int) for dataset in (source, shown)
    )
    assert len(set(wanted)) > 1
    assert np.abs(wanted - found).max() <= 16


@pytest.mark.parametrize("descriptor", [[900, 0, 12], [3, 0, 40], None])
def test_a_table_that_cannot_be_read_stops_nothing(descriptor):
    source = cases.header(ModalityLUTSequence=[_lut(0, [1, 2, 3])])
    if descriptor is None:
        del source.ModalityLUTSequence[0].LUTDescriptor
    else:
        source.ModalityLUTSequence[0].LUTDescriptor = descriptor
    assert "ModalityLUTSequence" not in only(cases.request(cases.view(cases.P, source)))


def test_the_same_request_gives_the_same_bytes():
    request = cases.outcomes()["four-views"]
    first, second = ([encode(made.dataset) for made in presentation_states(request)] for _ in range(2))
    assert first
    assert first == second
