"""The loop that asks one PACS to prove what it stored, and the reports that come for it."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

import structlog

from dicom_node.core.delivery import Backoff, Circuit
from dicom_node.core.errors import DestinationUnavailable, MalformedDataSet
from dicom_node.core.identifiers import new_uid
from dicom_node.deliver.confirm import NOT_THERE, Answer, Question, Said, open_confirmer
from dicom_node.deliver.send import backoff_of
from dicom_node.dimse import status
from dicom_node.dimse.commitment import read_report
from dicom_node.dimse.peers import printable_title
from dicom_node.dimse.sop_classes import STORAGE_COMMITMENT
from dicom_node.ledger import commitments
from dicom_node.services.rounds import Rounds

if TYPE_CHECKING:
    from collections.abc import Callable

    from dicom_node.deliver.confirm import Confirmer
    from dicom_node.destination_settings import DicomDestination
    from dicom_node.dimse.commitment import Report
    from dicom_node.ledger.commitments import Claim
    from dicom_node.ledger.database import Database
    from dicom_node.services.rounds import Workplace
    from dicom_node.services.threads import Bell

log = structlog.get_logger(__name__)

PATIENCE = Backoff(first_s=60.0, longest_s=6 * 3600.0, give_up_s=72 * 3600.0)
"""When a PACS that has not reported is asked again, and when that is given up and said."""

_BATCH = 32  # deliveries in one association
_STAY_S = 5.0  # how long an association is kept for reports on it; later they come on one of the PACS's own
_LOOK_S = 0.2
_SEND_AGAIN_S = 60.0
_LOOKS = 4  # an index may be behind the store: so many times C-FIND may not find what was stored
_EVENTS = {
    Said.ASKED: "commitment.asked",
    Said.FOUND: "delivery.found",
    Said.NOT_OFFERED: "commitment.not-offered",
}
_TYPES = frozenset({1, 2})  # event types: all committed, failures exist (PS3.4 J.3.3)


class Reports:
    """Takes what PACS report, on whichever association it comes, and writes it down."""

    def __init__(self, ledger: Database, bell: Bell, clock: Callable[[], float]) -> None:
        self._ledger = ledger
        self._bell = bell
        self._clock = clock

    def take(self, report: Report) -> int:
        """Write a report down; returns the status for the PACS."""
        names = {"calling_ae": printable_title(report.calling_ae)}
        if report.sop_class_uid != STORAGE_COMMITMENT or report.event_type not in _TYPES:
            log.warning("commitment.unreadable", **names, reason=f"event type {report.event_type}")
            return status.NO_SUCH_EVENT_TYPE
        try:
            outcome = read_report(report)
        except MalformedDataSet as error:
            log.warning("commitment.unreadable", **names, reason=str(error))
            return status.INVALID_ARGUMENT
        now, sent_again = self._clock(), False
        with self._ledger.transaction() as connection:
            found = commitments.claim_of(connection, outcome.transaction_uid)
            if found is None:
                log.warning("commitment.unknown", **names, reason="the report is of no transaction of ours")
                return status.INVALID_ARGUMENT
            claim, counts = found
            if not counts:
                return status.SUCCESS  # said before, or of a delivery that was sent again since
            whole, refused = commitments.report(connection, claim, outcome.committed, outcome.failed, now)
            if refused:
                sent_again = commitments.lacks(connection, claim, refused, now, _SEND_AGAIN_S)
        _say(claim, whole=whole, refused=refused, sent_again=sent_again)
        self._bell.ring()
        return status.SUCCESS


class Asker(Rounds):
    """One PACS's deliveries that are still to be proved, several asked for over one association."""

    def __init__(
        self,
        destination: DicomDestination,
        calling_ae: str,
        place: Workplace,
        reports: Reports,
        patience: Backoff = PATIENCE,
        stay_s: float = _STAY_S,
    ) -> None:
        super().__init__(backoff_of(destination), place)
        self._destination = destination
        self._calling_ae = calling_ae
        self._reports = reports
        self._patience = patience
        self._stay_s = stay_s

    def step(self) -> bool:
        """Ask for what is due over one association; false where nothing is, or the PACS is left alone."""
        now, name = self._clock(), self._destination.name
        if self._circuit.is_closed(now):
            return False
        with self._ledger.transaction() as connection:
            due = (connection, name, now, _BATCH, new_uid, self._patience)
            claims, given_up = commitments.take_due(*due)
        for claim in given_up:
            log.error("commitment.unanswered", **_names(claim), days=self._patience.give_up_s / 86400.0)
        waiting, asked, opened = deque(claims), dict[str, "Claim"](), False
        if not claims:
            return bool(given_up)
        try:
            with open_confirmer(self._destination, self._calling_ae, self._reports.take) as confirmer:
                opened = True
                self._ask(waiting, asked, confirmer)
                self._circuit = Circuit()
                self._stay(asked, confirmer)
        except (DestinationUnavailable, OSError) as error:
            lost = f"the connection to {name} broke ({type(error).__name__})"
            self._lost(waiting, str(error) if isinstance(error, DestinationUnavailable) else lost, opened=opened)
        if waiting:  # the node stops
            with self._ledger.transaction() as connection:
                commitments.put_back(connection, waiting, None, self._clock())
        return True

    def _ask(self, waiting: deque[Claim], asked: dict[str, Claim], confirmer: Confirmer) -> None:
        """Ask one question after the other; what is left in `waiting` at the end was not asked."""
        while waiting and not self._stopping.is_set():
            claim = waiting[0]
            instances = tuple((o.sop_class_uid, o.sop_instance_uid, o.series_instance_uid) for o in claim.stored)
            answer = confirmer.ask(Question(claim.transaction_uid, claim.study_instance_uid, instances))
            waiting.popleft()
            self._note(claim, answer)
            if answer.said is Said.ASKED:
                asked[claim.transaction_uid] = claim

    def _note(self, claim: Claim, answer: Answer) -> None:
        now, sent_again = self._clock(), False
        lacking = dict.fromkeys(answer.lacking, NOT_THERE)
        with self._ledger.transaction() as connection:
            if answer.said is Said.ASKED:
                commitments.asked(connection, claim, now)
            elif answer.said is Said.FAILED:
                commitments.postpone(connection, claim, answer.error, now)
            elif answer.said is not Said.LACKS:
                state = "found" if answer.said is Said.FOUND else "stored"
                commitments.settle(connection, claim, state, answer.said.value, now)
            elif claim.attempts < _LOOKS:
                error = f"{claim.destination}: {answer.said.value} yet"
                commitments.postpone(connection, claim, error, now)
            else:
                commitments.report(connection, claim, frozenset(), lacking, now)
                sent_again = commitments.lacks(connection, claim, lacking, now, _SEND_AGAIN_S)
        if answer.said in _EVENTS:
            log.info(_EVENTS[answer.said], **_names(claim))
        else:
            log.warning("commitment.postponed", **_names(claim), reason=answer.error or answer.said.value)
        if answer.said is Said.LACKS and claim.attempts >= _LOOKS:
            _say(claim, whole=False, refused=lacking, sent_again=sent_again)
            self._bell.ring()

    def _stay(self, asked: dict[str, Claim], confirmer: Confirmer) -> None:
        """Keep the association for the reports, until all have come, on it or on another, or for a few seconds."""
        end = time.monotonic() + self._stay_s
        while asked and time.monotonic() < end and not self._stopping.is_set():
            try:
                came = confirmer.await_report(_LOOK_S)
            except DestinationUnavailable:
                return  # it ends the association: the report comes on another
            if not came and not self._still_open(asked):
                return

    def _still_open(self, asked: dict[str, Claim]) -> bool:
        with self._ledger.transaction() as connection:
            for uid in list(asked):
                found = commitments.claim_of(connection, uid)
                if found is None or not found[1]:
                    del asked[uid]
        return bool(asked)

    def _lost(self, waiting: deque[Claim], error: str, *, opened: bool) -> None:
        """Leave the PACS alone for a while; what it was not asked is no worse for it.

        In whose middle the association was lost may have been taken: that waits by itself, and its report counts.
        """
        if not waiting:
            return  # the goodbye failed, and everything was asked
        now = self._clock()
        self._circuit = self._circuit.after_failure(self._backoff, now, self._dice())
        with self._ledger.transaction() as connection:
            if opened:
                commitments.postpone(connection, waiting.popleft(), error, now)
            commitments.put_back(connection, waiting, error, now)
        log.warning("commitment.postponed", destination=self._destination.name, reason=error, waiting=len(waiting))
        waiting.clear()

    def _next_due(self, connection: Any) -> float | None:
        return commitments.next_due(connection, self._destination.name)


def _say(claim: Claim, *, whole: bool, refused: object, sent_again: bool) -> None:
    if whole:
        log.info("commitment.granted", **_names(claim))
    elif sent_again:
        log.warning("commitment.failed", **_names(claim), failed=refused, what_now="the delivery is sent again")
    elif refused:
        log.error("commitment.failed", **_names(claim), failed=refused, what_now="look at the PACS, then retry")


def _names(claim: Claim) -> dict[str, object]:
    return {"study": claim.study_instance_uid, "version": claim.version, "destination": claim.destination}
