"""A PACS that is asked to commit to what it stored, and answers as it is told."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.presentation import build_role
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from dicom_node.dimse.scp import ScpSettings, StorageScp
from tests.support.parcels import EXPLICIT, PR, RUNGS, SC, SR
from tests.support.stub_pacs import IMPLICIT, StubPacs

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

    from dicom_node.dimse.tls import TlsFiles
    from tests.support.published import Outgoing

NO_SUCH_INSTANCE = 0x0112
TAKEN = ((SC, EXPLICIT), (PR, EXPLICIT), *((SR + rung, EXPLICIT) for rung in RUNGS))


class CommittingPacs(StubPacs):
    """A stub that takes N-ACTION; `on_request` is called with the association and what was asked, after the answer."""

    def __init__(self, on_request: Callable[[Any, Dataset], object] = lambda _assoc, _asked: None) -> None:
        super().__init__(*TAKEN, (StorageCommitmentPushModel, IMPLICIT))
        self.requests: list[Dataset] = []
        self.action_status = 0
        self.breaks = False  # the association, when it was asked
        self._on_request = on_request
        self._one_at_a_time = threading.Lock()

    def handlers(self) -> list[Any]:
        """Return what pynetdicom calls: also for N-ACTION."""
        return [*super().handlers(), (evt.EVT_N_ACTION, self._action)]

    def _action(self, event: Any) -> tuple[int, None]:
        self.requests.append(event.action_information)
        if self.breaks:
            event.assoc.abort()
        elif self.action_status == 0:
            answer = (event.assoc, event.action_information)
            threading.Timer(0.1, self._report, answer).start()
        return self.action_status, None

    def _report(self, assoc: Any, asked: Dataset) -> None:
        with self._one_at_a_time:
            self._on_request(assoc, asked)


def information(asked: Dataset, failing: dict[str, int] | None = None) -> Dataset:
    """Return the report to a request: everything committed but what fails."""
    failing = failing or {}
    said = Dataset()
    said.TransactionUID, said.ReferencedSOPSequence, failed = asked.TransactionUID, [], []
    for item in asked.ReferencedSOPSequence:
        if item.ReferencedSOPInstanceUID not in failing:
            said.ReferencedSOPSequence.append(item)
            continue
        item.FailureReason = failing[item.ReferencedSOPInstanceUID]
        failed.append(item)
    if failed:
        said.FailedSOPSequence = failed
    return said


def event_type(said: Dataset) -> int:
    """Return 1 where all is committed, 2 where failures exist."""
    return 2 if "FailedSOPSequence" in said else 1


def report_on(assoc: Any, said: Dataset) -> int:
    """Report on an open association; returns the status of the answer."""
    where = (StorageCommitmentPushModel, StorageCommitmentPushModelInstance)
    status, _ = assoc.send_n_event_report(said, event_type(said), *where)
    return int(status.Status)


def report_anew(port: int, said: Dataset, tls: ssl.SSLContext | None = None) -> int:
    """Report on an association of the PACS's own, with the roles reversed; returns the status of the answer."""
    ae = AE(ae_title="STUB")
    ae.add_requested_context(StorageCommitmentPushModel, IMPLICIT)
    role = build_role(StorageCommitmentPushModel, scp_role=True)
    secured = (tls, "localhost") if tls else None
    assoc = ae.associate("127.0.0.1", port, ae_title="DICOMNODE", ext_neg=[role], tls_args=secured)
    assert assoc.is_established
    try:
        return report_on(assoc, said)
    finally:
        assoc.release()


@contextmanager
def listening(node: Outgoing, port: int = 0, tls: TlsFiles | None = None) -> Iterator[StorageScp]:
    """Yield the node's SCP, which takes reports."""
    settings = ScpSettings(ae_title="DICOMNODE", host="127.0.0.1", port=port, tls=tls)
    scp = StorageScp(settings, lambda _request: None, node.reports.take)  # type: ignore[arg-type,return-value]
    scp.start()
    try:
        yield scp
    finally:
        scp.stop()
