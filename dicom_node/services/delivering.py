"""The loop that brings published results to one destination."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import structlog

from dicom_node.core.delivery import Circuit
from dicom_node.core.errors import DestinationRefused, DestinationUnavailable
from dicom_node.deliver.parcel import Offer, Parcel
from dicom_node.deliver.send import backoff_of, open_session
from dicom_node.destination_settings import demand_of
from dicom_node.dimse.scu import Outgoing
from dicom_node.ledger import commitments, destinations, outbox, results
from dicom_node.ledger.spool import folder_digest
from dicom_node.services.rounds import Rounds

if TYPE_CHECKING:
    from dicom_node.core.delivery import Receipt
    from dicom_node.deliver.parcel import Session
    from dicom_node.destination_settings import DestinationSettings
    from dicom_node.ledger.outbox import Due
    from dicom_node.ledger.spool import StateFolders
    from dicom_node.services.rounds import Workplace

log = structlog.get_logger(__name__)

_NOTE_EVERY_S = 60.0
_BATCH = 16  # results in one association; more urgent ones that come meanwhile need not wait for a longer queue


class Courier(Rounds):
    """One destination's deliveries, several over one connection; a destination that is down is asked once a wait."""

    def __init__(
        self, destination: DestinationSettings, calling_ae: str, place: Workplace, folders: StateFolders
    ) -> None:
        super().__init__(backoff_of(destination), place)
        self._destination = destination
        self._calling_ae = calling_ae
        self._folders = folders
        self._accepted: frozenset[tuple[str, str]] | None = None
        self._noted_at = 0.0

    def reopen(self) -> str:
        """Try the destination now although it just failed; return its name, or nothing where it is not left alone."""
        if not self._circuit.is_closed(self._clock()):
            return ""
        self._circuit = self._circuit.reopened()
        return self._destination.name

    def step(self) -> bool:
        """Attempt the due deliveries over one connection; false where none is due or the destination is left alone."""
        if self._circuit.is_closed(self._clock()):
            return False
        with self._ledger.transaction() as connection:
            dues = outbox.take_due(connection, self._destination.name, self._clock(), _BATCH)
            parcels = [self._parcel(due, results.objects(connection, due.version_id)) for due in dues]
        if not dues:
            return False
        waiting = deque(zip(dues, parcels, strict=True))
        opened = False
        try:
            with open_session(self._destination, self._calling_ae, parcels) as session:
                opened = True
                self._reached(session)
                self._work_through(waiting, session)
        except DestinationUnavailable as error:
            self._fail(waiting, str(error), opened=opened, at_least_s=error.retry_after_s)
        except DestinationRefused as error:
            self._refuse_all(waiting, str(error))
        except OSError as error:
            cause = f"the connection to {self._destination.name} broke ({type(error).__name__})"
            self._fail(waiting, cause, opened=opened)
        if waiting:
            with self._ledger.transaction() as connection:
                outbox.put_back(connection, [due for due, _ in waiting])
        return True

    def _parcel(self, due: Due, objects: tuple[results.ReportObject, ...]) -> Parcel:
        folder = self._folders.root / due.folder
        offers = tuple(
            Offer(
                number,
                item.slot,
                Outgoing(item.sop_class_uid, item.sop_instance_uid, item.transfer_syntax_uid, folder / item.file),
            )
            for number, item in enumerate(objects)
        )
        return Parcel(due.study_instance_uid, due.version, folder, offers)

    def _work_through(self, waiting: deque[tuple[Due, Parcel]], session: Session) -> None:
        """Deliver one result after the other; what is left in `waiting` at the end was not delivered."""
        while waiting and not self._stopping.is_set():
            due, parcel = waiting[0]
            try:
                if folder_digest(parcel.folder) != due.folder_sha256:
                    waiting.popleft()
                    self._give_up(due, f"{due.folder} is not what was made: purge the study, then send it again")
                    continue
                receipt = session.deliver(parcel)
            except FileNotFoundError as error:
                waiting.popleft()
                self._give_up(due, f"{error.filename} is missing: make the result again")
                continue
            except DestinationRefused as error:
                waiting.popleft()
                self._give_up(due, str(error))
                continue
            waiting.popleft()
            if receipt.refused is not None:
                self._give_up(due, receipt.refused, receipt)
            else:
                self._succeed(due, receipt)
            self._circuit = Circuit()

    def _reached(self, session: Session) -> None:
        """Remember what the destination accepted; not each time, since every note is a write to the disk."""
        now = self._clock()
        is_fresh = 0.0 <= now - self._noted_at < _NOTE_EVERY_S  # not where the clock went back
        if session.accepted == self._accepted and not self._circuit.failures and is_fresh:
            return
        self._accepted, self._noted_at = session.accepted, now
        with self._ledger.transaction() as connection:
            destinations.reached(connection, self._destination.name, session.accepted, now)

    def _succeed(self, due: Due, receipt: Receipt) -> None:
        with self._ledger.transaction() as connection:
            outbox.succeed(connection, due, receipt.slots, self._clock())
            name, demand = due.destination, demand_of(self._destination)
            commitments.begin(connection, due.delivery_id, name, demand, self._clock())
        left_out = [slot.slot for slot in receipt.slots if slot.position is None and slot.status is None]
        log.info("delivery.done", **_names(due), left_out=left_out or None)

    def _fail(self, waiting: deque[tuple[Due, Parcel]], error: str, *, opened: bool, at_least_s: float = 0.0) -> None:
        """Note that the destination failed, and leave it alone for a while.

        A result in whose middle it fails again while others get through waits by itself: they are tried without it.
        """
        if not waiting:
            return  # the goodbye failed, and everything was delivered
        due, _ = waiting.popleft()
        now, dice = self._clock(), self._dice()
        if not (opened and due.interrupted and self._circuit.failures == 0):
            self._circuit = self._circuit.after_failure(self._backoff, now, dice, at_least_s)
        with self._ledger.transaction() as connection:
            destinations.failed(connection, self._destination.name, error, self._circuit.failures, now)
            if opened:
                again = outbox.postpone(connection, due, error, self._backoff, now, dice)
            else:
                outbox.not_begun(connection, due, error)
                again = self._circuit.closed_until
            outbox.put_back(connection, [other for other, _ in waiting])
            waiting.clear()
            given_up = outbox.expire(connection, due.destination, error, now - self._backoff.give_up_s, now)
        log.warning(
            "delivery.postponed" if again is not None else "delivery.dead",
            **_names(due),
            reason=error,
            again_in_s=round(max(again, self._circuit.closed_until) - now, 1) if again is not None else None,
            given_up=given_up or None,
        )

    def _refuse_all(self, waiting: deque[tuple[Due, Parcel]], error: str) -> None:
        while waiting:
            self._give_up(waiting.popleft()[0], error)

    def _give_up(self, due: Due, error: str, receipt: Receipt | None = None) -> None:
        with self._ledger.transaction() as connection:
            outbox.give_up(connection, due, receipt.slots if receipt else (), error, self._clock())
        log.error("delivery.dead", **_names(due), reason=error)

    def _next_due(self, connection: Any) -> float | None:
        return outbox.next_due(connection, self._destination.name)


def _names(due: Due) -> dict[str, object]:
    return {"study": due.study_instance_uid, "version": due.version, "destination": due.destination}
