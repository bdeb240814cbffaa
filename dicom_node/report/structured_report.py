"""The Structured Report: a Measurement Report (TID 1500) whose tree says who, what, how sure and where.

The result stands first, in words and as groups, in a container of its own: what is below Imaging Measurements has
coordinates, since a viewer may take for granted that it can draw all of it.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING

from highdicom.sr import (
    CodeContentItem,
    CodedConcept,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    ImageContentItem,
    LanguageOfContentItemAndDescendants,
    RelationshipTypeValues,
)
from pydicom.dataset import Dataset
from pydicom.uid import UID

from dicom_node.core.findings import Outcome
from dicom_node.report import codes
from dicom_node.report.basic_text import flattened
from dicom_node.report.header import Place, begin, file_meta, own_coding_scheme
from dicom_node.report.identity import code_of, code_string, items_of, put, referenced_requests, settle_character_set
from dicom_node.report.measurement_groups import (
    container,
    laterality_of,
    reason_items,
    region_groups,
    result_groups,
    site_of,
    text_item,
)
from dicom_node.report.narrative import in_words, series_description
from dicom_node.report.provenance import algorithm, observer
from dicom_node.report.request import (
    BASIC_TEXT_SR,
    COMPREHENSIVE_SR,
    ENHANCED_SR,
    SECONDARY_CAPTURE,
    SR_LADDER,
    ResultObject,
)
from dicom_node.report.sources import series_of, sop_class_of, sop_instance_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pydicom.sr.coding import Code

    from dicom_node.core.findings import StudyFinding
    from dicom_node.report.request import Predecessor, ReportRequest, SourceView

_CONTAINS = RelationshipTypeValues.CONTAINS
_MODIFIER = RelationshipTypeValues.HAS_CONCEPT_MOD
_ACQUISITION = RelationshipTypeValues.HAS_ACQ_CONTEXT
#: The kind of each rung, which its UID is derived from; the first is the one that has always been there.
_KINDS = {SR_LADDER[0]: "sr", COMPREHENSIVE_SR: "sr-33", ENHANCED_SR: "sr-22", BASIC_TEXT_SR: "sr-11"}


def structured_reports(
    request: ReportRequest, captures: Sequence[ResultObject], heatmaps: dict[str, str]
) -> tuple[ResultObject, ...]:
    """Return the report of a request for each rung of the SR ladder, best first, all pointing at the captures made.

    The tree is built once: the first three rungs differ in class, UID and predecessor only, and the last is the same
    tree flattened. captures: every one of them becomes evidence; heatmaps: source SOP Instance UID to the heatmap's.
    """
    document = _document(request, captures)
    root = _root(request, heatmaps)
    for element in root:
        document.add(element)
    settle_character_set(document, request.source)  # what is flattened says nothing that is not in the tree
    plain = flattened(root)
    return tuple(_rung(request, document, plain, sop_class_uid) for sop_class_uid in SR_LADDER)


def _document(request: ReportRequest, captures: Sequence[ResultObject]) -> Dataset:
    """Return what stands around the tree (PS3.3 C.17.1, C.17.2)."""
    dataset = begin(request, _place(request))
    dataset.CompletionFlag = "COMPLETE"
    dataset.VerificationFlag = "UNVERIFIED"
    dataset.PreliminaryFlag = "PRELIMINARY"
    dataset.ReferencedPerformedProcedureStepSequence = []
    dataset.PerformedProcedureCodeSequence = []
    dataset.CodingSchemeIdentificationSequence = [own_coding_scheme()]
    requests = referenced_requests(request.source, request.study_instance_uid)
    if requests:
        dataset.ReferencedRequestSequence = requests
    dataset.CurrentRequestedProcedureEvidenceSequence = [_evidence(request, captures)]
    return dataset


def _rung(request: ReportRequest, document: Dataset, plain: ContentItem, sop_class_uid: str) -> ResultObject:
    """Return the document as one class, sharing the value of every element that does not depend on it."""
    kind = _KINDS[sop_class_uid]
    uid = request.uid(kind)
    dataset = Dataset()
    for element in (*document, *(plain if sop_class_uid == BASIC_TEXT_SR else ())):
        dataset.add(copy(element))
    if sop_class_uid == BASIC_TEXT_SR:
        del dataset.ContentTemplateSequence
    put(dataset, "SOPClassUID", UID(sop_class_uid))
    put(dataset, "SOPInstanceUID", UID(uid))
    before = request.predecessor(sop_class_uid)
    if before is not None:
        dataset.PredecessorDocumentsSequence = [_predecessor(before)]
    dataset.file_meta = file_meta(sop_class_uid, uid)
    return ResultObject(kind, "sr", sop_class_uid, uid, dataset.SeriesInstanceUID, dataset)


def _place(request: ReportRequest) -> Place:
    return Place(
        sop_class_uid=SR_LADDER[0],
        sop_instance_uid=request.uid("sr"),
        series_instance_uid=request.uid("sr-series"),
        series_number=request.options.series_number_base + 1,
        instance_number=request.version,
        modality="SR",
        series_description=series_description(request.finding.outcome, "report"),
    )


def _root(request: ReportRequest, heatmaps: dict[str, str]) -> ContentItem:
    regions = region_groups(request, heatmaps)
    # A viewer that draws measurement reports shows an empty screen where there is nothing to draw, and any other
    # report as text; the list of titles may be extended (CID 7021).
    title = codes.IMAGING_MEASUREMENT_REPORT if regions else codes.TRIAGE_REPORT
    root = ContainerContentItem(title, is_content_continuous=False, template_id="1500")
    named = [code_of([item]) for item in items_of(request.source, "ProcedureCodeSequence")]
    procedures = [code for code in dict.fromkeys(named) if code is not None] or [codes.XR_UNSPECIFIED]
    items: list[ContentItem] = [
        *LanguageOfContentItemAndDescendants(CodedConcept.from_code(codes.ENGLISH)),
        *observer(request.finding.model),
        *(CodeContentItem(codes.PROCEDURE_REPORTED, procedure, _MODIFIER) for procedure in procedures),
        _findings(request, heatmaps),
        _image_library(request.views),
        *([container(codes.IMAGING_MEASUREMENTS, regions)] if regions else []),
        _evaluations(request.finding),
        container(codes.ALGORITHM, list(algorithm(request.finding.model, request.gate))),
    ]
    root.ContentSequence = ContentSequence(items)
    return root


def _findings(request: ReportRequest, heatmaps: dict[str, str]) -> ContentItem:
    """Return the result as its readers want it: the outcome and the sentence first, then the study and each view."""
    finding = request.finding
    items: list[ContentItem] = [
        CodeContentItem(codes.OUTCOME, codes.OUTCOMES[finding.outcome], _CONTAINS),
        text_item(codes.COMMENT, in_words(finding)),
        *result_groups(request, heatmaps),
    ]
    return container(codes.FINDINGS, items)


def _image_library(views: tuple[SourceView, ...]) -> ContentItem:
    group = container(codes.IMAGE_LIBRARY_GROUP, [_library_entry(view) for view in views])
    return container(codes.IMAGE_LIBRARY, [group], template="1600")


def _library_entry(view: SourceView) -> ContentItem:
    """Return one image with its modality, region, side and projection, each where the source says it (TID 1602)."""
    entry = ImageContentItem(
        codes.SOURCE_OF_MEASUREMENT, sop_class_of(view), sop_instance_of(view), relationship_type=_CONTAINS
    )
    projection = code_of(items_of(view.header, "ViewCodeSequence"))
    described: tuple[tuple[Code, Code | None], ...] = (
        (codes.MODALITY, codes.MODALITIES.get(code_string(view.header, "Modality"))),
        (codes.TARGET_REGION, site_of(view)),
        (codes.IMAGE_LATERALITY, codes.LATERALITIES.get(laterality_of(view))),
        (codes.IMAGE_VIEW, projection or codes.VIEWS.get(code_string(view.header, "ViewPosition"))),
    )
    items = [CodeContentItem(name, value, _ACQUISITION) for name, value in described if value is not None]
    if items:
        entry.ContentSequence = ContentSequence(items)
    return entry


def _evaluations(finding: StudyFinding) -> ContentItem:
    summary, detection = _summary(finding)
    items: list[ContentItem] = [
        CodeContentItem(codes.CAD_SUMMARY, summary, _CONTAINS),
        CodeContentItem(codes.SUMMARY_OF_DETECTIONS, detection, _CONTAINS),
        CodeContentItem(codes.OUTCOME, codes.OUTCOMES[finding.outcome], _CONTAINS),
        *_presence(finding.outcome),
        *reason_items(finding.reason),
        text_item(codes.COMMENT, in_words(finding)),
    ]
    return container(codes.QUALITATIVE_EVALUATIONS, items)


def _presence(outcome: Outcome) -> list[ContentItem]:
    if outcome is Outcome.NOT_ANALYSED:
        return []
    return [
        CodeContentItem(codes.FINDING, codes.FRACTURE, _CONTAINS),
        CodeContentItem(codes.PRESENCE, codes.PRESENCE_OF[outcome], _CONTAINS),
    ]


def _summary(finding: StudyFinding) -> tuple[Code, Code]:
    """Return the codes of CID 6047 and CID 6042.

    "With findings" is said only where a view is positive: an inconclusive view is no finding, and the outcome beside it
    keeps "without findings" from being read as negative.
    """
    if finding.outcome is Outcome.NOT_ANALYSED:
        tried = finding.reason is not None and finding.reason.attempted
        return codes.NONE_WITHOUT, codes.FAILED if tried else codes.NOT_ATTEMPTED
    outcomes = {view.outcome for view in finding.views}
    complete = Outcome.NOT_ANALYSED not in outcomes
    if Outcome.POSITIVE in outcomes:
        summary = codes.ALL_WITH if complete else codes.SOME_WITH
    else:
        summary = codes.ALL_WITHOUT if complete else codes.SOME_WITHOUT
    return summary, codes.SUCCEEDED if complete else codes.PARTIALLY_SUCCEEDED


def _evidence(request: ReportRequest, captures: Sequence[ResultObject]) -> Dataset:
    """Return every image of the report, source and made, by series (PS3.3 C.17.2.1)."""
    by_series: dict[str, list[tuple[str, str]]] = {}
    for view in request.views:
        by_series.setdefault(series_of(view), []).append((sop_class_of(view), sop_instance_of(view)))
    made = {capture.sop_instance_uid: capture.series_instance_uid for capture in captures}  # alternatives share a UID
    for uid, series in made.items():
        by_series.setdefault(series, []).append((SECONDARY_CAPTURE, uid))
    return _study_reference(request.study_instance_uid, by_series)


def _predecessor(before: Predecessor) -> Dataset:
    reference = (before.sop_class_uid, before.sop_instance_uid)
    return _study_reference(before.study_instance_uid, {before.series_instance_uid: [reference]})


def _study_reference(study_uid: str, by_series: dict[str, list[tuple[str, str]]]) -> Dataset:
    item = Dataset()
    item.StudyInstanceUID = UID(study_uid)
    item.ReferencedSeriesSequence = [_series_reference(uid, references) for uid, references in by_series.items()]
    return item


def _series_reference(series_uid: str, references: Iterable[tuple[str, str]]) -> Dataset:
    item = Dataset()
    item.SeriesInstanceUID = UID(series_uid)
    item.ReferencedSOPSequence = []
    for sop_class, sop_instance in references:
        entry = Dataset()
        entry.ReferencedSOPClassUID = UID(sop_class)
        entry.ReferencedSOPInstanceUID = UID(sop_instance)
        item.ReferencedSOPSequence.append(entry)
    return item
