from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dicom_node.core.radiograph import EvidenceMap, InputGeometry, Radiograph
from dicom_node.report.display import LONGEST_SIDE, to_display
from dicom_node.report.drawing import Column
from dicom_node.report.heatmap import blend, colour_bar, outline, share_of_maximum, without_glare
from dicom_node.report.heatmap_page import heatmap_page, overlaid
from tests.conformance import report_cases as cases


def one_hot(rows, columns, cell, cells=(6, 6), side=120):
    scale = side / max(rows, columns)
    geometry = InputGeometry(
        rows, columns, side, side, scale, scale, (side - rows * scale) / 2, (side - columns * scale) / 2
    )
    values = np.full(cells, -0.5, dtype=np.float32)
    values[cell] = 2.0
    return EvidenceMap(values, np.ones(cells, dtype=bool), geometry, "evidence")


@pytest.mark.parametrize("shape", [(600, 600), (600, 400), (300, 600), (1200, 900)])
@pytest.mark.parametrize("drawn", [1.0, 0.5, 2.0])
def test_a_cells_heat_lies_on_the_pixels_that_the_cell_saw(shape, drawn):
    rows, columns = shape
    shown = one_hot(rows, columns, (2, 3))
    share = share_of_maximum(shown, round(rows * drawn), round(columns * drawn))
    size_y, size_x = 120 / 6, 120 / 6
    centre = shown.geometry.to_image((2 + 0.5) * size_y, (3 + 0.5) * size_x)
    total = share.sum()
    y, x = np.mgrid[0 : share.shape[0], 0 : share.shape[1]] + 0.5
    mean = (share * y).sum() / total / drawn, (share * x).sum() / total / drawn
    assert mean == pytest.approx(centre, abs=0.6)
    assert share.max() == pytest.approx(1.0, abs=0.02)


def test_negative_evidence_paints_nothing():
    shown = one_hot(400, 400, (2, 2))
    share = share_of_maximum(shown, 400, 400)
    assert share.min() == 0.0
    grey = cases.picture(400, 400)
    coloured = blend(grey, share)
    untouched = share < 0.05
    assert (coloured[untouched] == grey[untouched][:, None]).all()
    assert (np.ptp(coloured[share > 0.9].astype(int), axis=-1) > 10).all()


def test_a_map_without_positive_evidence_leaves_the_picture_grey():
    shown = one_hot(300, 300, (1, 1))
    flat = EvidenceMap(-np.abs(shown.values), shown.body, shown.geometry, "evidence")
    grey = cases.picture(300, 300)
    assert (blend(grey, share_of_maximum(flat, 300, 300)) == np.repeat(grey[:, :, None], 3, axis=2)).all()


@pytest.mark.parametrize(
    ("shape", "cell"), [((120, 40), (3, 1)), ((120, 40), (3, 4)), ((40, 120), (1, 3)), ((40, 120), (4, 3))]
)
def test_heat_on_the_padding_is_not_drawn(shape, cell):
    shown = one_hot(*shape, cell)  # a narrow image: the cells right beside it see padding only
    assert share_of_maximum(shown, *shape).max() == 0.0


def test_not_a_number_is_no_heat():
    shown = one_hot(100, 100, (1, 1))
    values = shown.values.copy()
    values[4, 4] = np.nan
    share = share_of_maximum(EvidenceMap(values, shown.body, shown.geometry, "evidence"), 100, 100)
    assert np.isfinite(share).all()


def test_lightness_rises_along_the_colour_bar():
    bar = colour_bar(4, 256)[0].astype(float)
    lightness = bar @ (0.2126, 0.7152, 0.0722)
    painted = lightness[30:]
    assert np.corrcoef(painted, np.arange(len(painted)))[0, 1] > 0.9


def test_an_outline_lies_on_its_own_pixels():
    picture = np.full((200, 300, 3), 90, dtype=np.uint8)
    outline(picture, (cases.box(100, 150, at=(0.5, 0.5), size=0.4),), (2.0, 2.0), 2)
    y, x = np.nonzero((picture == 255).all(axis=2))
    assert (y.min(), y.max()) == pytest.approx((60, 139), abs=2)
    assert (x.min(), x.max()) == pytest.approx((110, 189), abs=2)


@pytest.mark.parametrize("shape", [(800, 600), (600, 800), (2500, 2000), (64, 64), (1500, 300), (300, 1500)])
def test_the_legend_covers_no_pixel_of_the_image(shape):
    rows, columns = shape
    source = cases.header(rows=rows, columns=columns)
    view = cases.view(cases.P, source)
    view = cases.SourceView(source, view.finding, to_display(Radiograph(_grey(rows, columns))), view.shown_map)
    page = heatmap_page(cases.request(view), view, 1)
    picture = overlaid(view)
    assert picture.shape[0] / picture.shape[1] == pytest.approx(rows / columns, rel=0.02)
    assert (page[: picture.shape[0], : picture.shape[1]] == picture).all()
    assert page.shape != picture.shape


@pytest.mark.parametrize("shape", [(820, 1000), (600, 800), (300, 1500), (1500, 300), (900, 900)])
def test_the_disclaimer_is_never_cut_off(monkeypatch, shape):
    drawn: list[tuple[float, str]] = []
    line = Column.line

    def noted(self, text, size, *rest, **more):
        line(self, text, size, *rest, **more)
        drawn.append((self.y, text))

    monkeypatch.setattr(Column, "line", noted)
    view = cases.view(cases.P, cases.header(rows=shape[0], columns=shape[1]))
    page = heatmap_page(cases.request(view, version=2), view, 1)
    legend = page.shape[0] if page.shape[1] > overlaid(view).shape[1] else page.shape[0] - overlaid(view).shape[0]
    assert "physician" in " ".join(text for _, text in drawn)
    assert max(y for y, _ in drawn) <= legend


def test_the_region_is_shown_once_more_without_colours():
    texture = np.random.default_rng(5).integers(100, 200, (1200, 900)).astype(np.uint8)

    def of_the_picture(regions):
        view = replace(cases.view(cases.P, cases.header(rows=1200, columns=900), regions=regions), display=texture)
        legend = heatmap_page(cases.request(view), view, 1)[:, 900:]
        return (np.ptp(legend, axis=2) == 0) & (legend[:, :, 0] >= 100) & (legend[:, :, 0] < 200)

    with_region = of_the_picture((cases.box(1200, 900),))
    block = with_region[:, 100:150].mean(axis=1) > 0.9
    assert block.sum() > 130
    assert with_region.sum() > of_the_picture(()).sum() + 130**2


def test_a_white_picture_is_dimmed_and_a_dark_one_is_not():
    dark = cases.picture(300, 300)
    assert without_glare(dark) is dark
    white = np.full((300, 300), 250, dtype=np.uint8)
    white[100:200, 100:200] = np.arange(100, dtype=np.uint8)
    dimmed = without_glare(white)
    assert dimmed.max() < 200
    assert (np.diff(dimmed[150, 100:200].astype(int)) >= 0).all()


@pytest.mark.parametrize(
    ("shape", "expected"), [((3000, 2000), (1280, 853)), ((200, 2560), (100, 1280)), ((500, 400), (500, 400))]
)
def test_the_display_picture_is_small_and_never_enlarged(shape, expected):
    made = to_display(Radiograph(_grey(*shape)))
    assert made.shape == expected
    assert made.dtype == np.uint8
    assert max(made.shape) <= LONGEST_SIDE


def _grey(rows, columns):
    return np.linspace(0, 65535, rows * columns, dtype=np.uint16).reshape(rows, columns)
