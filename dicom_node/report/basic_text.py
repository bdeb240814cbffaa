"""The report as Basic Text SR, for a destination that takes nothing richer: numbers as text, no coordinates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from highdicom.sr import ContainerContentItem, ContentItem, ContentSequence, ImageContentItem, TextContentItem

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_REGION_TEMPLATE = "1410"


def flattened(root: ContentItem) -> ContentItem:
    """Return the tree with the value types of Basic Text SR only (PS3.3 A.35.1.3).

    The root keeps its title but names no template: TID 1500 asks for types that are not allowed here.
    """
    plain = ContainerContentItem(root.name, is_content_continuous=False)
    plain.ContentSequence = ContentSequence(_items(root))
    return plain


def _items(parent: ContentItem) -> list[ContentItem]:
    return [_item(item) for item in parent.ContentSequence if not _is_region(item)]


def _is_region(item: Dataset) -> bool:
    templates = item.get("ContentTemplateSequence") or []
    return any(template.TemplateIdentifier == _REGION_TEMPLATE for template in templates)


def _item(item: ContentItem) -> ContentItem:
    if item.ValueType == "CONTAINER":
        plain = ContainerContentItem(item.name, is_content_continuous=False, relationship_type=item.RelationshipType)
        plain.ContentSequence = ContentSequence(_items(item))
        return plain
    if item.ValueType == "NUM":
        measured = item.MeasuredValueSequence[0]
        unit = measured.MeasurementUnitsCodeSequence[0].CodeValue
        text = f"{measured.NumericValue}" if unit == "1" else f"{measured.NumericValue} {unit}"
        return TextContentItem(item.name, text, item.RelationshipType)
    if item.ValueType == "IMAGE":
        target = item.ReferencedSOPSequence[0]
        return ImageContentItem(
            item.name,
            target.ReferencedSOPClassUID,
            target.ReferencedSOPInstanceUID,
            relationship_type=item.RelationshipType,
        )
    return item
