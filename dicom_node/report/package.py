"""One result: everything that is sent back for one version of one study."""

from __future__ import annotations

from dicom_node.report.request import (
    Predecessor,
    ReportOptions,
    ReportRequest,
    ResultObject,
    SourceView,
)
from dicom_node.report.secondary_capture import heatmap_captures, summary_capture
from dicom_node.report.structured_report import structured_reports

__all__ = ["Predecessor", "ReportOptions", "ReportRequest", "ResultObject", "SourceView", "compose"]


def compose(request: ReportRequest) -> tuple[ResultObject, ...]:
    """Return a request's objects in the order to send them: summary, heatmaps, then the report that points at them.

    The report comes once for each rung of the SR ladder. Presentation states, once there are any, go before it. The
    same request gives the same bytes.
    """
    summary = summary_capture(request)
    heatmaps = heatmap_captures(request)
    captures = (summary, *heatmaps.values())
    reports = structured_reports(request, captures, {uid: made.sop_instance_uid for uid, made in heatmaps.items()})
    return (*captures, *reports)
