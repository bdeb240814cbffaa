"""The small picture of a result: its radiograph, whatever its shape and greys, without the words of its page."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from dicom_node.report.canvas import squared
from dicom_node.report.heatmap_page import heatmap_page, overlaid
from dicom_node.web.pictures import without_words
from tests.conformance import report_cases as cases

LARGER = np.zeros((2048, 2048, 3), np.uint8)
SHAPES = [(1280, 1024), (1280, 500), (800, 1280), (500, 1280), (1000, 1000), (400, 300)]


@pytest.mark.parametrize("grey", [None, 0, 20, 24, 255])
@pytest.mark.parametrize(("rows", "columns"), SHAPES)
def test_a_small_picture_is_the_radiograph_alone(rows, columns, grey):
    view = cases.view(cases.P, cases.header(rows=rows, columns=columns))
    if grey is not None:
        view = replace(view, display=np.full((rows, columns), grey, np.uint8))
    page = heatmap_page(cases.request(view), view, 1)
    assert np.array_equal(small(squared([page])[0]), overlaid(view))
    enlarged = small(squared([LARGER, page])[1])  # as beside a larger page
    assert enlarged.shape[1] / enlarged.shape[0] == pytest.approx(columns / rows, rel=0.01)


def small(page):
    return np.asarray(without_words(Image.fromarray(page)))
