"""The source images as references: class, UIDs, size, and what a reader calls them."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from dicom_node.core.identifiers import derived_uid, is_usable_uid
from dicom_node.report.identity import code_string, text_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dicom_node.report.request import SourceView

_CR_IMAGE = "1.2.840.10008.5.1.4.1.1.1"
#: Body parts without a side (PS3.16 Annex L): Laterality must be absent for them.
_SPINE = {"CSPINE", "CTSPINE", "TSPINE", "TLSPINE", "LSPINE", "LSSPINE", "SSPINE", "SPINE", "SACRUM", "COCCYX"}
UNPAIRED = _SPINE | {"ABDOMEN", "CHEST", "HEAD", "JAW", "NECK", "PELVIS", "SKULL", "STERNUM"}
_PIXEL_SHAPES = ("PixelAspectRatio", "PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
#: So coarse that spacings which differ in their last digit are square.
_FINEST_RATIO, _MOST_RATIO = 100, 10
#: Larger than any radiograph; bounds coordinates where the header does not give the size.
_UNBOUNDED = 65535


def sop_instance_of(view: SourceView) -> str:
    """Return the image's SOP Instance UID, as the ledger knows it."""
    return view.finding.sop_instance_uid


def sop_class_of(view: SourceView) -> str:
    """Return the image's SOP Class UID; a data set without one is taken for a CR image."""
    value = text_of(view.header, "SOPClassUID")
    return value if is_usable_uid(value) else _CR_IMAGE


def series_of(view: SourceView) -> str:
    """Return the image's Series Instance UID; where it has none, one that is at least the same every time."""
    value = text_of(view.header, "SeriesInstanceUID")
    return value if is_usable_uid(value) else derived_uid("series-of", sop_instance_of(view))


def image_size(view: SourceView) -> tuple[int, int]:
    """Return (rows, columns) of the original image."""
    if view.shown_map is not None:
        return view.shown_map.geometry.image_rows, view.shown_map.geometry.image_columns
    sizes = [text_of(view.header, keyword) for keyword in ("Rows", "Columns")]
    rows, columns = (int(size) if size.isdigit() and int(size) else _UNBOUNDED for size in sizes)
    return rows, columns


def pixel_shape(view: SourceView) -> tuple[int, int]:
    """Return a pixel's (height, width) in small whole numbers, from the first attribute that states it.

    Pixel Aspect Ratio is absent where a spacing says the same (PS3.3 C.7.6.3.1.7). Beyond 10 to 1 none is believed.
    """
    for keyword in _PIXEL_SHAPES:
        try:
            height, width = (float(part) for part in text_of(view.header, keyword).split("\\"))
            stated = height / width
        except (ValueError, ZeroDivisionError):
            continue
        if 1 / _MOST_RATIO <= stated <= _MOST_RATIO:
            ratio = Fraction(stated).limit_denominator(_FINEST_RATIO)
            return ratio.numerator, ratio.denominator
    return 1, 1


def label_of(view: SourceView) -> str:
    """Return what a reader calls the view: body part, side and projection, as far as the source says."""
    sides = {"L": "left", "R": "right", "B": "both sides"}
    side = code_string(view.header, "ImageLaterality") or code_string(view.header, "Laterality")
    words = [
        code_string(view.header, "BodyPartExamined").capitalize(),
        sides.get(side, ""),
        code_string(view.header, "ViewPosition"),
    ]
    return " ".join(word for word in words if word)


def side_of(views: Iterable[SourceView]) -> str:
    """Return the side that all views share, empty where they differ or name none."""
    headers = (view.header for view in views)
    return agreed(code_string(header, "ImageLaterality") or code_string(header, "Laterality") for header in headers)


def body_part_of(views: Iterable[SourceView]) -> str:
    """Return the body part that all views share, empty where they differ or name none."""
    return agreed(code_string(view.header, "BodyPartExamined") for view in views)


def agreed(values: Iterable[str]) -> str:
    """Return the one value that all share, empty where they differ."""
    distinct = set(values)
    return distinct.pop() if len(distinct) == 1 else ""
