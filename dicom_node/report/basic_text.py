"""The report as Basic Text SR, for a destination that takes nothing richer: numbers and outlines as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from highdicom.sr import (
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    ImageContentItem,
    RelationshipTypeValues,
    TextContentItem,
)

from dicom_node.report import codes

if TYPE_CHECKING:
    from collections.abc import Iterator


def flattened(root: ContentItem) -> ContentItem:
    """Return the tree with the value types of Basic Text SR only (PS3.3 A.35.1.3).

    The root names no template, as TID 1500 asks for types that are not allowed here, and so is no measurement report.
    """
    plain = ContainerContentItem(codes.TRIAGE_REPORT, is_content_continuous=False)
    plain.ContentSequence = ContentSequence(_items(root))
    return plain


def _items(parent: ContentItem) -> list[ContentItem]:
    return [plain for item in parent.get("ContentSequence") or [] for plain in _plain(item)]


def _plain(item: ContentItem) -> Iterator[ContentItem]:
    """Yield an item, or what says the same in the types allowed here."""
    if item.ValueType == "CONTAINER":
        held = ContainerContentItem(item.name, is_content_continuous=False, relationship_type=item.RelationshipType)
        yield _holding(held, _items(item))
    elif item.ValueType == "NUM":
        yield TextContentItem(item.name, _number(item), item.RelationshipType)
    elif item.ValueType == "SCOORD":
        yield TextContentItem(item.name, _outline(item), item.RelationshipType)
        for child in item.ContentSequence:  # the image that the coordinates were selected from, now beside them
            yield _image(child, RelationshipTypeValues.CONTAINS)
    elif item.ValueType == "IMAGE":
        yield _holding(_image(item, item.RelationshipType), _items(item))
    else:
        yield item


def _holding(item: ContentItem, children: list[ContentItem]) -> ContentItem:
    if children:
        item.ContentSequence = ContentSequence(children)
    return item


def _number(item: ContentItem) -> str:
    measured = item.MeasuredValueSequence[0]
    unit = measured.MeasurementUnitsCodeSequence[0].CodeValue
    return f"{measured.NumericValue}" if unit == "1" else f"{measured.NumericValue} {unit}"


def _outline(item: ContentItem) -> str:
    """Return a closed line in words: first what it spans, for a reader, then its points."""
    data = [round(float(value), 2) for value in item.GraphicData]
    x, y = data[0::2], data[1::2]
    points = " ".join(f"{column:g},{row:g}" for column, row in zip(x, y, strict=True))
    span = f"x {min(x):.0f}-{max(x):.0f}, y {min(y):.0f}-{max(y):.0f} pixels of the original image"
    return f"{span}; closed line through {points}"


def _image(item: ContentItem, relationship: RelationshipTypeValues | str) -> ContentItem:
    target = item.ReferencedSOPSequence[0]
    return ImageContentItem(
        item.name, target.ReferencedSOPClassUID, target.ReferencedSOPInstanceUID, relationship_type=relationship
    )
