"""The groups of the report: the study and each view (TID 1501), each region (TID 1410)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
from highdicom.sr import (
    CodeContentItem,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    FindingSite,
    GraphicTypeValues,
    ImageContentItem,
    NumContentItem,
    RelationshipTypeValues,
    ScoordContentItem,
    TextContentItem,
    TrackingIdentifier,
)

from dicom_node.core.findings import Outcome
from dicom_node.report import codes
from dicom_node.report.identity import code_of, code_string, items_of, printable
from dicom_node.report.narrative import in_words, shown_regions, view_in_words
from dicom_node.report.provenance import brief_algorithm
from dicom_node.report.request import SECONDARY_CAPTURE
from dicom_node.report.sources import image_size, sop_class_of, sop_instance_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from pydicom.dataset import Dataset
    from pydicom.sr.coding import Code

    from dicom_node.core.findings import Localisation, Reason, Region
    from dicom_node.report.request import ReportRequest, SourceView

__all__ = [
    "container",
    "laterality_of",
    "reason_items",
    "region_groups",
    "result_groups",
    "shown_regions",
    "site_of",
    "text_item",
]

_CONTAINS = RelationshipTypeValues.CONTAINS
_MODIFIER = RelationshipTypeValues.HAS_CONCEPT_MOD
_SELECTED_FROM = RelationshipTypeValues.SELECTED_FROM
_CLOSED_TRIANGLE = 4
#: An FL in explicit VR holds 65,534 bytes (PS3.5 7.1.2): 8,191 points. A longer outline is thinned to fewer than this.
_LONGEST_OUTLINE = 8000
#: What a map's kind may be called: only a map that sums to the score is a class activation, a localiser is not.
_METHODS = {"evidence": codes.GRADIENT_WEIGHTED, "localiser": codes.LOCALISER_MAP}


def result_groups(request: ReportRequest, heatmaps: Mapping[str, str]) -> list[ContentItem]:
    """Return the study's group and one group per view; heatmaps: source UID to the heatmap's UID."""
    views = enumerate(request.views, start=1)
    return [_study_group(request), *(_view_group(request, view, number, heatmaps) for number, view in views)]


def region_groups(request: ReportRequest, heatmaps: Mapping[str, str]) -> list[ContentItem]:
    """Return one group per outlined region, none where nothing is outlined."""
    groups = []
    for number, view in enumerate(request.views, start=1):
        for index, region in enumerate(shown_regions(view.finding), start=1):
            group = _region_group(request, view, (number, index, region), heatmaps)
            if group is not None:
                groups.append(group)
    return groups


def reason_items(reason: Reason | None) -> list[ContentItem]:
    """Return a reason as a code and in words."""
    if reason is None:
        return []
    code = codes.REASONS[reason.code]
    return [
        CodeContentItem(codes.REASON, code, _CONTAINS),
        text_item(codes.REASON, printable(reason.text) or code.meaning),
    ]


def text_item(name: Code, text: str) -> ContentItem:
    """Return a TEXT item that is never empty (PS3.3 C.18.4, type 1) and holds what may be written only."""
    return TextContentItem(name, printable(text) or "(no words)", _CONTAINS)


def site_of(view: SourceView) -> Code | None:
    """Return the body part that an image shows, None where the source names none that we know."""
    site = code_of(items_of(view.header, "AnatomicRegionSequence"))
    return site or codes.BODY_PARTS.get(code_string(view.header, "BodyPartExamined"))


def laterality_of(view: SourceView) -> str:
    """Return an image's side as L, R, B or empty; the image's own attribute wins over the series'."""
    for keyword in ("ImageLaterality", "Laterality"):
        value = code_string(view.header, keyword)
        if value in codes.LATERALITIES:
            return value
    return ""


def _study_group(request: ReportRequest) -> ContentItem:
    finding = request.finding
    group = list(TrackingIdentifier(request.tracking_uid("study"), "AI fracture triage: study"))
    group.append(CodeContentItem(codes.OUTCOME, codes.OUTCOMES[finding.outcome], _CONTAINS))
    if finding.outcome is not Outcome.NOT_ANALYSED:
        group += _fracture(finding.outcome, request.views)
    group += _probability(finding.probability)
    group += reason_items(finding.reason)
    group.append(text_item(codes.COMMENT, in_words(finding)))
    group += list(brief_algorithm(finding.model))
    group += [_source(view) for view in request.views]
    return container(codes.MEASUREMENT_GROUP, group, template="1501")


def _view_group(request: ReportRequest, view: SourceView, number: int, heatmaps: Mapping[str, str]) -> ContentItem:
    uid = sop_instance_of(view)
    finding = view.finding
    group = list(TrackingIdentifier(request.tracking_uid("view", uid), f"AI fracture triage: view {number}"))
    group.append(CodeContentItem(codes.OUTCOME, codes.OUTCOMES[finding.outcome], _CONTAINS))
    if finding.outcome is not Outcome.NOT_ANALYSED:
        group += _fracture(finding.outcome, (view,))
    group += _probability(finding.probability)
    if finding.localisation is not None and finding.probability is not None:
        group += _localisation(finding.localisation)
    group += reason_items(finding.reason)
    group.append(text_item(codes.COMMENT, f"View {number}: {view_in_words(finding)}"))
    group += list(brief_algorithm(finding.model, finding))
    group.append(_source(view))
    if uid in heatmaps:
        group.append(_explanation(view, heatmaps[uid]))
    return container(codes.MEASUREMENT_GROUP, group, template="1501")


def _region_group(
    request: ReportRequest, view: SourceView, numbered: tuple[int, int, Region], heatmaps: Mapping[str, str]
) -> ContentItem | None:
    number, index, region = numbered
    points = closed_polyline(region, view)
    if points is None:
        return None
    uid = sop_instance_of(view)
    name = f"AI fracture triage: view {number} region {index}"
    group = list(TrackingIdentifier(request.tracking_uid(f"region {index}", uid), name))
    group += _fracture(view.finding.outcome, (view,))
    group += _probability(view.finding.probability)
    group.append(text_item(codes.COMMENT, f"Region {index} of view {number}; the probability is the whole view's"))
    group += list(brief_algorithm(view.finding.model))
    group.append(_outline(view, points))
    if uid in heatmaps:
        group.append(_explanation(view, heatmaps[uid]))
    return container(codes.MEASUREMENT_GROUP, group, template="1410")


def _outline(view: SourceView, points: NDArray[np.float64]) -> ContentItem:
    """Return a region's coordinates (highdicom's ImageRegion would refuse images of a class that it does not know)."""
    outline = ScoordContentItem(codes.IMAGE_REGION, GraphicTypeValues.POLYLINE, points, relationship_type=_CONTAINS)
    source = ImageContentItem(
        codes.SOURCE_IMAGE, sop_class_of(view), sop_instance_of(view), relationship_type=_SELECTED_FROM
    )
    outline.ContentSequence = ContentSequence([source])
    return outline


def _fracture(outcome: Outcome, views: tuple[SourceView, ...]) -> list[ContentItem]:
    return [
        CodeContentItem(codes.FINDING, codes.FRACTURE, _CONTAINS),
        *_sites(views),
        CodeContentItem(codes.PRESENCE, codes.PRESENCE_OF[outcome], _CONTAINS),
    ]


def _sites(views: tuple[SourceView, ...]) -> list[ContentItem]:
    """Return each body part once, with its side where one is named."""
    found: dict[tuple[Code, Code | None], None] = {}
    for view in views:
        site = site_of(view)
        if site is not None:
            found[site, codes.LATERALITIES.get(laterality_of(view))] = None
    return [FindingSite(site, laterality=side) for site, side in found]


def _probability(probability: float | None) -> list[ContentItem]:
    if probability is None:
        return []
    return [
        NumContentItem(codes.PROBABILITY, round(100.0 * probability, 2), codes.PERCENT, relationship_type=_CONTAINS)
    ]


def _localisation(where: Localisation) -> list[ContentItem]:
    measures = (
        (codes.ENTROPY, where.entropy, codes.NO_UNITS),
        (codes.AREA, 100.0 * where.area, codes.PERCENT),
        (codes.OUT_OF_BODY, 100.0 * where.out_of_body, codes.PERCENT),
    )
    return [NumContentItem(name, round(value, 4), unit, relationship_type=_CONTAINS) for name, value, unit in measures]


def _source(view: SourceView) -> ContentItem:
    return ImageContentItem(
        codes.SOURCE_OF_MEASUREMENT, sop_class_of(view), sop_instance_of(view), relationship_type=_CONTAINS
    )


def _explanation(view: SourceView, heatmap_uid: str) -> ContentItem:
    """Point at the heatmap, with the method that made its map (CID 217 where one of its codes is true)."""
    kind = view.shown_map.kind if view.shown_map else ""
    item = ImageContentItem(codes.VISUAL_EXPLANATION, SECONDARY_CAPTURE, heatmap_uid, relationship_type=_CONTAINS)
    method = CodeContentItem(codes.METHOD, _METHODS.get(kind, codes.OTHER_MAP), _MODIFIER)
    item.ContentSequence = ContentSequence([method])
    return item


def closed_polyline(region: Region, view: SourceView) -> NDArray[np.float64] | None:
    """Return a region clipped to the image as a closed polyline, None where nothing is left of it."""
    rows, columns = image_size(view)
    points: list[tuple[float, float]] = []
    finite = [point for point in region.points if np.isfinite(point).all()]
    for x, y in finite[:: -(-len(finite) // _LONGEST_OUTLINE) or 1]:
        point = (round(min(max(x, 0.0), columns), 2), round(min(max(y, 0.0), rows), 2))
        if not points or point != points[-1]:
            points.append(point)
    if points and points[0] != points[-1]:
        points.append(points[0])
    return np.array(points, dtype=np.float64) if len(points) >= _CLOSED_TRIANGLE else None


def container(
    name: Code, items: Sequence[Dataset], template: str | None = None, relation: RelationshipTypeValues = _CONTAINS
) -> ContentItem:
    """Return a CONTAINER that holds these items."""
    item = ContainerContentItem(name, is_content_continuous=False, template_id=template, relationship_type=relation)
    item.ContentSequence = ContentSequence(cast("Sequence[ContentItem]", items))
    return item
