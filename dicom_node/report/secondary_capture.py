"""Secondary Capture images: the pages of a result as any viewer shows them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from copy import copy, deepcopy
from typing import TYPE_CHECKING

import imagecodecs
import numpy as np
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sr.coding import Code
from pydicom.uid import UID

from dicom_node.report.canvas import squared
from dicom_node.report.header import Place, begin
from dicom_node.report.heatmap_page import heatmap_numbers, heatmap_page
from dicom_node.report.identity import code_item, code_string, put, settle_character_set, text_of
from dicom_node.report.narrative import WORDS, series_description
from dicom_node.report.page import summary_page
from dicom_node.report.provenance import MANUFACTURER, MODEL_NAME
from dicom_node.report.request import JPEG_LS_LOSSLESS, SECONDARY_CAPTURE, ResultObject
from dicom_node.report.sources import UNPAIRED, body_part_of, side_of, sop_class_of, sop_instance_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicom_node.report.request import ReportRequest, SourceView

_SOURCE_PURPOSE = Code("121322", "DCM", "Source image for image processing operation")
#: SOI, a SPIFF directory and its end, which CharLS puts in front of the frame: 46 bytes that no reader needs.
_SPIFF_BYTES = 46
#: JPEG-LS writes no more than 32 bits for a sample of 8 (ISO 14495-1, LIMIT): noise grows, and must not stop a result.
_MOST_BYTES_A_SAMPLE, _MARKERS = 4, 4096
_SOI, _SOF_55 = b"\xff\xd8", b"\xff\xf7"
_AT_A_TIME = 2
_DIRECTIONS = {"A", "P", "R", "L", "H", "F"}
_OPPOSITES = ({"A", "P"}, {"R", "L"}, {"H", "F"})


#: A page's pixels, and in JPEG-LS where that is wanted.
_Page = tuple["NDArray[np.uint8]", "bytes | None"]


def captures(request: ReportRequest) -> tuple[tuple[ResultObject, ...], dict[str, tuple[ResultObject, ...]]]:
    """Return the summary, and a heatmap for each view that has evidence to show, by the view's SOP Instance UID.

    Each page comes as its alternatives, best first; all of them have one size.
    """
    images = heatmap_numbers(request)
    numbered = enumerate(request.views, start=1)
    drawn = [(number, view) for number, view in numbered if sop_instance_of(view) in images]
    pages = squared([summary_page(request), *(heatmap_page(request, view, number) for number, view in drawn)])
    first, *others = zip(pages, _streams(pages) if request.options.compressed else [None] * len(pages), strict=True)
    summary = _capture(request, first, (1, "summary", "Summary page of the AI result"), request.views)
    heatmaps: dict[str, tuple[ResultObject, ...]] = {}
    for (_, view), page in zip(drawn, others, strict=True):
        words = f"Evidence map over the image: {WORDS[view.finding.outcome]}"
        uid = sop_instance_of(view)
        heatmaps[uid] = _capture(request, page, (images[uid], "heatmap", words), (view,))
    return summary, heatmaps


def _capture(
    request: ReportRequest, drawn: _Page, what: tuple[int, str, str], views: tuple[SourceView, ...]
) -> tuple[ResultObject, ...]:
    """Return a page as data sets, compressed and not; what: instance number, kind, derivation in words."""
    page, stream = drawn
    number, kind, words = what
    source = sop_instance_of(views[0]) if kind == "heatmap" else ""
    place = Place(
        sop_class_uid=SECONDARY_CAPTURE,
        sop_instance_uid=request.uid(f"sc-{kind}", source),
        series_instance_uid=request.uid("sc-series"),
        series_number=request.options.series_number_base,
        instance_number=number,
        modality="OT",
        series_description=series_description(request.finding.outcome),
    )
    dataset = begin(request, place)
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.ConversionType = "WSD"
    dataset.BurnedInAnnotation = "YES"
    dataset.DerivationDescription = words
    dataset.SourceImageSequence = [_source(view) for view in views]
    dataset.SecondaryCaptureDeviceManufacturer = MANUFACTURER
    dataset.SecondaryCaptureDeviceManufacturerModelName = MODEL_NAME
    dataset.DateOfSecondaryCapture = dataset.ContentDate
    dataset.TimeOfSecondaryCapture = dataset.ContentTime
    _describe_anatomy(dataset, request, views if kind == "heatmap" else ())
    _describe_pixels(dataset, page)
    settle_character_set(dataset, request.views[0].header)
    alternatives = [_compressed(dataset, stream)] if stream is not None else []
    _put_pixels(dataset, page)
    alternatives.append(dataset)
    uids = (SECONDARY_CAPTURE, place.sop_instance_uid, place.series_instance_uid)
    return tuple(ResultObject("sc", f"sc-{number}", *uids, alternative) for alternative in alternatives)


def _source(view: SourceView) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = UID(sop_class_of(view))
    item.ReferencedSOPInstanceUID = UID(sop_instance_of(view))
    item.PurposeOfReferenceCodeSequence = [code_item(_SOURCE_PURPOSE)]
    return item


def _describe_anatomy(dataset: Dataset, request: ReportRequest, pictured: tuple[SourceView, ...]) -> None:
    """Copy side, body part and orientation; series attributes only where all views of the study agree.

    Laterality is type 2C in General Series (PS3.3 C.7.3.1): empty says "unknown", and absent is an error. A page of
    text has no orientation, so only a heatmap takes its source's.
    """
    side, part = side_of(request.views), body_part_of(request.views)
    if part:
        dataset.BodyPartExamined = part
    own = code_string(pictured[0].header, "ImageLaterality") if pictured else ""
    if side not in {"L", "R"} and own in {"L", "R", "U", "B"}:
        dataset.ImageLaterality = own  # excludes Laterality, which could not say it
    elif part not in UNPAIRED:
        dataset.Laterality = side if side in {"L", "R"} else ""
    dataset.PatientOrientation = _orientation(pictured[0]) if pictured else []
    if pictured:
        _copy_loss(dataset, pictured[0].header)


def _orientation(view: SourceView) -> list[str]:
    parts = [part.strip().upper() for part in text_of(view.header, "PatientOrientation").split("\\")]
    usable = len(parts) == 2 and all(_is_direction(part) for part in parts)  # noqa: PLR2004 - row and column
    return parts if usable else []


def _is_direction(part: str) -> bool:
    """Tell whether a text names a direction; AP is none, but a projection in the wrong attribute."""
    letters = set(part)
    return bool(letters) and letters <= _DIRECTIONS and not any(pair <= letters for pair in _OPPOSITES)


def _copy_loss(dataset: Dataset, source: Dataset) -> None:
    """Keep the mark of lossy compression: once lost, always lost (PS3.3 C.7.6.1.1.5)."""
    if text_of(source, "LossyImageCompression") != "01":
        return
    dataset.LossyImageCompression = "01"
    ratios = [part.strip() for part in text_of(source, "LossyImageCompressionRatio").split("\\")]
    if all(part.replace(".", "", 1).isdigit() for part in ratios):
        put(dataset, "LossyImageCompressionRatio", ratios if len(ratios) > 1 else ratios[0])


def _describe_pixels(dataset: Dataset, page: NDArray[np.uint8]) -> None:
    dataset.SamplesPerPixel = 3
    dataset.PhotometricInterpretation = "RGB"
    dataset.PlanarConfiguration = 0
    dataset.Rows, dataset.Columns = page.shape[:2]
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.PixelRepresentation = 0


def _put_pixels(dataset: Dataset, page: NDArray[np.uint8]) -> None:
    pixels = page.tobytes()
    # Pixel Data has an even length (PS3.5 8.2).
    dataset.PixelData = pixels + b"\x00" * (len(pixels) % 2)
    dataset["PixelData"].VR = "OB"


def _streams(pages: list[NDArray[np.uint8]]) -> list[bytes]:
    """Return pages in JPEG-LS, lossless; two at a time, since the codec works without the interpreter's lock."""
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        return list(pool.map(_stream, pages))


def _stream(page: NDArray[np.uint8]) -> bytes:
    """Return one page; its samples lie interleaved pixel by pixel: several viewers show the other order falsely."""
    room = _MOST_BYTES_A_SAMPLE * page.size + _MARKERS
    stream = bytes(imagecodecs.jpegls_encode(np.ascontiguousarray(page), out=room))
    return _SOI + stream[_SPIFF_BYTES:] if stream[_SPIFF_BYTES:].startswith(_SOF_55) else stream


def _compressed(described: Dataset, stream: bytes) -> Dataset:
    """Return the page in JPEG-LS: the same instance, since not one pixel differs (PS3.5 A.4.3)."""
    dataset = Dataset()
    for element in described:
        dataset.add(copy(element))
    dataset.file_meta = deepcopy(described.file_meta)
    dataset.PixelData = encapsulate([stream])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = UID(JPEG_LS_LOSSLESS)
    return dataset
