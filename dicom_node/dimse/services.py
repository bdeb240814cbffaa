"""What a request asks for, and who takes its data set: C-STORE, C-ECHO and the report of a storage commitment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from dicom_node.core.study import StoreRequest
from dicom_node.dimse import status
from dicom_node.dimse.command import Command, Operation
from dicom_node.dimse.pdu import ProtocolViolation
from dicom_node.dimse.peers import printable_title
from dicom_node.dimse.sink import Sink, Taking
from dicom_node.dimse.sop_classes import STORAGE_COMMITMENT, VERIFICATION

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dicom_node.dimse.messages import Taker
    from dicom_node.dimse.negotiation import Context

log = structlog.get_logger(__name__)

_MAX_REPORT = 4 << 20  # 25,000 references of a storage commitment


@dataclass(frozen=True, slots=True)
class Report:
    """An N-EVENT-REPORT: what happened (event_type), to which instance, and the encoded event information."""

    sop_class_uid: str
    sop_instance_uid: str
    event_type: int
    transfer_syntax_uid: str
    calling_ae: str
    dataset: bytes


@dataclass(frozen=True, slots=True)
class Services:
    """Who stores, and who is told of reports; on_report returns the status for the peer."""

    open_sink: Callable[[StoreRequest], Sink]
    on_report: Callable[[Report], int] | None = None

    def taker(self, request: Command, context: Context, calling_ae: str, address: str) -> Taker:
        """Return who takes the data set of a request and knows its answer."""
        if request.field == Operation.C_STORE and context.abstract_syntax not in {VERIFICATION, STORAGE_COMMITMENT}:
            if not request.has_data_set:
                return Answer(status.CANNOT_UNDERSTAND, "the request has no data set")
            stored = StoreRequest(
                sop_class_uid=request.sop_class_uid,
                sop_instance_uid=request.sop_instance_uid,
                transfer_syntax_uid=context.transfer_syntax,
                calling_ae=calling_ae,
                peer=address,
            )
            return Taking(self.open_sink, stored)
        if request.field == Operation.C_ECHO:
            log.info("echo.answered", calling_ae=printable_title(calling_ae))
            return Answer(status.SUCCESS)
        if request.field == Operation.N_EVENT_REPORT and self.on_report is not None:
            return _Reporting(self.on_report, request, context, calling_ae)
        if request.field == Operation.C_STORE:
            return Answer(status.CLASS_NOT_SUPPORTED, "this presentation context is not for storage")
        return Answer(status.UNRECOGNISED_OPERATION, "this node only stores and verifies")


class Answer:
    """An answer that no data set changes; what comes with the request is dropped."""

    def __init__(self, code: int, comment: str = "") -> None:
        self._answer = (code, comment)

    def write(self, pieces: Sequence[memoryview]) -> None:
        """Drop them."""

    def finish(self) -> tuple[int, str]:
        """Return the answer."""
        return self._answer

    def abort(self) -> None:
        """Nothing was kept."""


class _Reporting:
    def __init__(self, on_report: Callable[[Report], int], request: Command, context: Context, calling_ae: str) -> None:
        self._on_report = on_report
        self._request, self._context, self._calling_ae = request, context, calling_ae
        self._data = bytearray()

    def write(self, pieces: Sequence[memoryview]) -> None:
        for piece in pieces:
            self._data += piece
        if len(self._data) > _MAX_REPORT:
            message = "an event report is longer than any may be"
            raise ProtocolViolation(message)

    def finish(self) -> tuple[int, str]:
        report = Report(
            sop_class_uid=self._request.sop_class_uid,
            sop_instance_uid=self._request.sop_instance_uid,
            event_type=self._request.event_type,
            transfer_syntax_uid=self._context.transfer_syntax,
            calling_ae=self._calling_ae,
            dataset=bytes(self._data),
        )
        try:
            return self._on_report(report), ""
        except Exception:
            log.exception("report.failed", event_type=report.event_type)
            return status.PROCESSING_FAILURE, ""

    def abort(self) -> None:
        self._data.clear()
