"""Grayscale Softcopy Presentation States: the regions on the originals, switched on and off by the viewer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import UID

from dicom_node.core.errors import NotAnalysable
from dicom_node.core.findings import Outcome
from dicom_node.part10.greyscale import is_inverse, lookup_table
from dicom_node.report.header import Place, begin
from dicom_node.report.identity import code_string, items_of, settle_character_set, text_of
from dicom_node.report.measurement_groups import closed_polyline, shown_regions
from dicom_node.report.narrative import percent, series_description
from dicom_node.report.request import GRAYSCALE_PRESENTATION_STATE, ResultObject
from dicom_node.report.sources import (
    UNPAIRED,
    body_part_of,
    image_size,
    pixel_shape,
    series_of,
    side_of,
    sop_class_of,
    sop_instance_of,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicom_node.core.findings import ViewFinding
    from dicom_node.report.request import ReportRequest, SourceView

_LAYER = "AI FRACTURE"
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
#: A light yellow: told from bone and air alike. CIELab as PS3.3 C.10.7.1.1 scales it.
_WHITE_P_VALUE, _YELLOW_CIELAB = 65535, [55705, 34181, 48316]
_WORDS_OF = {Outcome.POSITIVE: "possible fracture", Outcome.INCONCLUSIVE: "inconclusive"}
#: Shares of the image's height: how far the text hangs from the region, and below which line it goes above instead.
_TEXT_GAP, _LOWEST_TEXT = 0.012, 0.94
_DS_LENGTH = 16
_WORD_BITS, _WORD = 16, 0xFFFF
#: PS3.3 C.11.1.1.2
_UNITS = {"OD", "HU", "US", "MGML", "Z_EFF", "ED", "EDW", "HU_MOD", "PCT"}


def presentation_states(request: ReportRequest) -> tuple[ResultObject, ...]:
    """Return a presentation state for each view whose regions may be shown, none where the options ask for none."""
    if not request.options.presentation_states:
        return ()
    states: list[ResultObject] = []
    for view in request.views:
        outlines = [closed_polyline(region, view) for region in shown_regions(view.finding)]
        drawn = [outline for outline in outlines if outline is not None]
        if drawn:
            states.append(_state(request, view, drawn, len(states) + 1))
    return tuple(states)


def _state(request: ReportRequest, view: SourceView, outlines: list[NDArray[np.float64]], number: int) -> ResultObject:
    place = Place(
        sop_class_uid=GRAYSCALE_PRESENTATION_STATE,
        sop_instance_uid=request.uid("pr", sop_instance_of(view)),
        series_instance_uid=request.uid("pr-series"),
        series_number=request.options.series_number_base + 2,
        instance_number=number,
        modality="PR",
        series_description=series_description(request.finding.outcome, "regions"),
    )
    dataset = begin(request, place)
    dataset.PresentationCreationDate, dataset.PresentationCreationTime = dataset.ContentDate, dataset.ContentTime
    del dataset.ContentDate, dataset.ContentTime  # a presentation state has its own instead
    dataset.ContentLabel = _LAYER
    dataset.ContentDescription = text_on_image(view.finding)
    dataset.ContentCreatorName = ""
    dataset.ReferencedSeriesSequence = [_series(view)]
    part, side = body_part_of(request.views), side_of(request.views)
    if part:
        dataset.BodyPartExamined = part
    if part not in UNPAIRED:
        dataset.Laterality = side if side in {"L", "R"} else ""
    dataset.DisplayedAreaSelectionSequence = [_displayed_area(view)]
    dataset.GraphicLayerSequence = [_layer()]
    dataset.GraphicAnnotationSequence = [_annotation(view, outlines)]
    _keep_greys(dataset, view.header)
    settle_character_set(dataset, request.views[0].header)
    uids = (place.sop_class_uid, place.sop_instance_uid, place.series_instance_uid)
    return ResultObject("pr", f"pr-{number}", *uids, dataset)


def text_on_image(finding: ViewFinding) -> str:
    """Return the one line beside a region, never stronger than the outcome (at most 64 characters)."""
    number = "" if finding.probability is None else f" {percent(finding.probability)}"
    return f"AI: {_WORDS_OF[finding.outcome]}{number}, not verified by a physician"


def _series(view: SourceView) -> Dataset:
    item = Dataset()
    item.SeriesInstanceUID = UID(series_of(view))
    item.ReferencedImageSequence = [_image(view)]
    return item


def _image(view: SourceView) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = UID(sop_class_of(view))
    item.ReferencedSOPInstanceUID = UID(sop_instance_of(view))
    return item


def _displayed_area(view: SourceView) -> Dataset:
    """Return the whole image, fitted to the window; the proportions of its pixels are the source's."""
    rows, columns = image_size(view)
    item = Dataset()
    item.DisplayedAreaTopLeftHandCorner = [1, 1]
    item.DisplayedAreaBottomRightHandCorner = [columns, rows]
    item.PresentationSizeMode = "SCALE TO FIT"
    item.PresentationPixelAspectRatio = list(pixel_shape(view))
    return item


def _layer() -> Dataset:
    item = Dataset()
    item.GraphicLayer = _LAYER
    item.GraphicLayerOrder = 1
    item.GraphicLayerRecommendedDisplayGrayscaleValue = _WHITE_P_VALUE
    item.GraphicLayerRecommendedDisplayCIELabValue = _YELLOW_CIELAB
    item.GraphicLayerDescription = "Regions outlined by the algorithm"
    return item


def _annotation(view: SourceView, outlines: list[NDArray[np.float64]]) -> Dataset:
    item = Dataset()
    item.ReferencedImageSequence = [_image(view)]
    item.GraphicLayer = _LAYER
    item.GraphicObjectSequence = [_polyline(outline) for outline in outlines]
    text = Dataset()
    text.AnchorPointAnnotationUnits = "PIXEL"
    text.UnformattedTextValue = text_on_image(view.finding)
    text.AnchorPoint = _anchor(np.concatenate(outlines), image_size(view)[0])
    text.AnchorPointVisibility = "N"
    item.TextObjectSequence = [text]
    return item


def _polyline(points: NDArray[np.float64]) -> Dataset:
    """Return a closed line; PIXEL counts from the upper left corner of the image, as a region does (C.10.5.1.2)."""
    item = Dataset()
    item.GraphicAnnotationUnits = "PIXEL"
    item.GraphicDimensions = 2
    item.NumberOfGraphicPoints = len(points)
    item.GraphicData = [float(value) for value in points.reshape(-1)]
    item.GraphicType = "POLYLINE"
    item.GraphicFilled = "N"
    return item


def _anchor(points: NDArray[np.float64], rows: int) -> list[float]:
    """Return where the text hangs: under the regions, or above them where there is no room, never on top of one."""
    left, top, bottom = float(points[:, 0].min()), float(points[:, 1].min()), float(points[:, 1].max())
    below = bottom + _TEXT_GAP * rows
    return [left, below if below <= _LOWEST_TEXT * rows else max(0.0, top - 3 * _TEXT_GAP * rows)]


def _keep_greys(dataset: Dataset, source: Dataset) -> None:
    """Repeat the source's grey scale: a viewer ignores the image's own once it applies a state (PS3.4 N.2)."""
    dataset.PresentationLUTShape = "INVERSE" if is_inverse(source) else "IDENTITY"
    try:
        lowest, gain = _keep_modality(dataset, source)
        voi = _voi(source, gain, signed=lowest < 0)
    except (NotAnalysable, KeyError, TypeError, ValueError):  # a broken table must not stop a result
        return
    if voi is not None:
        dataset.SoftcopyVOILUTSequence = [voi]


def _keep_modality(dataset: Dataset, source: Dataset) -> tuple[float, float]:
    """Copy the Modality LUT or the rescale; return the lowest value that can come out of it, and the table's gain.

    The values of a table are spread, and a window with them, but not where a VOI LUT counts in them.
    """
    signed = text_of(source, "PixelRepresentation") == "1"
    tables = items_of(source, "ModalityLUTSequence")
    if tables:
        spread = not items_of(source, "VOILUTSequence")
        table, gain = _table(tables[0], source, signed=signed, spread=spread)
        table.ModalityLUTType = _unit(tables[0], "ModalityLUTType")
        dataset.ModalityLUTSequence = [table]
        return 0.0, gain
    stored = text_of(source, "BitsStored")
    bits = int(stored) if stored.isdigit() and int(stored) else 16
    ends = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    slope, intercept = _decimal(source, "RescaleSlope"), _decimal(source, "RescaleIntercept")
    if slope is None or intercept is None or slope == 0.0:
        return float(ends[0]), 1.0
    dataset.RescaleIntercept, dataset.RescaleSlope = _written(intercept), _written(slope)
    dataset.RescaleType = _unit(source, "RescaleType")
    return min(slope * end + intercept for end in ends), 1.0


def _unit(source: Dataset, keyword: str) -> str:
    """Return what the values are measured in, unspecified where the source's word is none of the standard's."""
    word = text_of(source, keyword)
    return word if word in _UNITS else "US"


def _voi(source: Dataset, gain: float, *, signed: bool) -> Dataset | None:
    """Return the source's first VOI LUT or window as our own pictures apply it, None where it has none.

    gain: what the values that it counts in were multiplied by.
    """
    tables = items_of(source, "VOILUTSequence")
    item = Dataset()
    if tables:
        item.VOILUTSequence = [_table(tables[0], source, signed=signed, spread=True)[0]]
        return item
    center, width = _decimal(source, "WindowCenter"), _decimal(source, "WindowWidth")
    function = code_string(source, "VOILUTFunction") or "LINEAR"
    smallest = 1.0 if function == "LINEAR" else np.finfo(float).tiny
    if center is None or width is None or width < smallest:
        return None
    # A linear window begins half a value below its first one (PS3.3 C.11.2.1.2.1), an exact one does not.
    half, one = (0.5, 1.0) if function == "LINEAR" else (0.0, 0.0)
    item.WindowCenter = _written((center - half) * gain + half)
    item.WindowWidth = _written((width - one) * gain + one)
    if function in {"SIGMOID", "LINEAR_EXACT"}:
        item.VOILUTFunction = function
    return item


def _table(item: Dataset, source: Dataset, *, signed: bool, spread: bool) -> tuple[Dataset, float]:
    """Return a look-up table anew, 16-bit words in little endian whatever its source kept it in, and its entries' gain.

    A table of a presentation state has entries of 8 or 16 bits. With `spread`, entries of fewer bits are spread over
    all 16; without, they keep their values, which something else counts in.
    """
    big = str(getattr(getattr(source, "file_meta", None), "TransferSyntaxUID", "")) == _BIG_ENDIAN
    entries, first, bits = lookup_table(item, signed=signed, little_endian=not big)
    # As in our own pictures: some writers name fewer bits than their entries use.
    gain = _WORD / max((1 << bits) - 1, float(entries.max())) if spread else 1.0
    entries = np.round(entries * gain)
    copy = Dataset()
    count = len(entries) & 0xFFFF  # 65,536 is written as 0
    if first < 0:
        count -= 0x10000 if count > 0x7FFF else 0  # noqa: PLR2004 - one VR for the three numbers
        copy.add_new("LUTDescriptor", "SS", [count, first, _WORD_BITS])
    else:
        copy.add_new("LUTDescriptor", "US", [count, first, _WORD_BITS])
    copy.add_new("LUTData", "OW", entries.astype("<u2").tobytes())
    return copy, gain


def _decimal(source: Dataset, keyword: str) -> float | None:
    """Return the first of an attribute's decimal numbers, None where there is none."""
    try:
        value = float(text_of(source, keyword).split("\\")[0])
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _written(value: float) -> str:
    """Return a decimal string of at most 16 characters (PS3.5 6.2, DS)."""
    text = repr(int(value)) if value.is_integer() else repr(value)
    return text if len(text) <= _DS_LENGTH else f"{value:.9g}"
