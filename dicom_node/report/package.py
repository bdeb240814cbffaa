"""One result: everything that is sent back for one version of one study."""

from __future__ import annotations

from dicom_node.report.presentation_state import presentation_states
from dicom_node.report.request import (
    Predecessor,
    ReportOptions,
    ReportRequest,
    ResultObject,
    SourceView,
)
from dicom_node.report.secondary_capture import captures
from dicom_node.report.structured_report import structured_reports

__all__ = ["Predecessor", "ReportOptions", "ReportRequest", "ResultObject", "SourceView", "compose"]


def compose(request: ReportRequest) -> tuple[ResultObject, ...]:
    """Return a request's objects in the order to send them: summary, heatmaps, presentation states, then the report.

    The report comes once for each rung of the SR ladder; objects of one slot are alternatives. The same request gives
    the same bytes.
    """
    summary, heatmaps = captures(request)
    pages = (summary, *heatmaps.values())
    reports = structured_reports(
        request, [page[0] for page in pages], {uid: page[0].sop_instance_uid for uid, page in heatmaps.items()}
    )
    return (
        *(alternative for page in pages for alternative in page),
        *presentation_states(request),
        *reports,
    )
