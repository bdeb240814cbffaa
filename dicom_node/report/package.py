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
from dicom_node.report.structured_report import structured_report

__all__ = ["Predecessor", "ReportOptions", "ReportRequest", "ResultObject", "SourceView", "compose"]


def compose(request: ReportRequest) -> tuple[ResultObject, ...]:
    """Return a request's objects in the order to send them: summary, heatmaps, then the report that points at them.

    Presentation states, once there are any, go before the report too. The same request gives the same bytes.
    """
    summary = summary_capture(request)
    heatmaps = heatmap_captures(request)
    captures = (summary, *heatmaps.values())
    report = structured_report(request, captures, {uid: made.sop_instance_uid for uid, made in heatmaps.items()})
    return (
        *captures,
        ResultObject("sr", "sr", report.SOPClassUID, report.SOPInstanceUID, report.SeriesInstanceUID, report),
    )
