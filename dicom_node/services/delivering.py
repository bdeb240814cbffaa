"""The loop that brings published results to one destination."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from dicom_node.core.errors import DestinationRefused, DestinationUnavailable
from dicom_node.deliver.send import backoff_of, send_result
from dicom_node.dimse.scu import Outgoing
from dicom_node.ledger import outbox, results

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from dicom_node.ledger.database import Database
    from dicom_node.ledger.outbox import Due
    from dicom_node.ledger.spool import StateFolders
    from dicom_node.services.threads import Bell
    from dicom_node.settings import DestinationSettings

log = structlog.get_logger(__name__)

_LONGEST_SLEEP_S = 5.0
_BLOCKED_SLEEP_S = 0.2  # something is due but waits for an earlier version of its study


class Courier:
    """One destination's deliveries, one after the other."""

    def __init__(  # noqa: PLR0913 - the parts of the node that one delivery touches
        self,
        destination: DestinationSettings,
        calling_ae: str,
        *,
        ledger: Database,
        folders: StateFolders,
        bell: Bell,
        clock: Callable[[], float],
        dice: Callable[[], float],
        stopping: threading.Event,
    ) -> None:
        self._destination = destination
        self._calling_ae = calling_ae
        self._backoff = backoff_of(destination)
        self._ledger = ledger
        self._folders = folders
        self._bell = bell
        self._clock = clock
        self._dice = dice
        self._stopping = stopping

    def run(self) -> None:
        """Deliver until the node stops."""
        while not self._stopping.is_set():
            heard = self._bell.count()
            if not self.step():
                self._bell.wait(heard, self._pause())

    def step(self) -> bool:
        """Attempt one due delivery; false where none is due."""
        with self._ledger.transaction() as connection:
            due = outbox.take_due(connection, self._destination.name, self._clock())
            objects = results.objects(connection, due.version_id) if due else ()
        if due is None:
            return False
        folder = self._folders.root / due.folder
        outgoing = [
            Outgoing(item.sop_class_uid, item.sop_instance_uid, item.transfer_syntax_uid, folder / item.file)
            for item in objects
        ]
        try:
            send_result(self._destination, self._calling_ae, outgoing)
        except DestinationUnavailable as error:
            self._postpone(due, str(error))
        except DestinationRefused as error:
            self._give_up(due, str(error))
        except OSError as error:
            self._postpone(due, f"the connection to {self._destination.name} broke ({type(error).__name__})")
        else:
            self._succeed(due)
        return True

    def _succeed(self, due: Due) -> None:
        with self._ledger.transaction() as connection:
            outbox.succeed(connection, due, self._clock())
        log.info("delivery.done", study=due.study_instance_uid, version=due.version, destination=due.destination)

    def _postpone(self, due: Due, error: str) -> None:
        with self._ledger.transaction() as connection:
            again = outbox.postpone(connection, due, error, self._backoff, self._clock(), self._dice())
        log.warning(
            "delivery.postponed" if again is not None else "delivery.dead",
            study=due.study_instance_uid,
            version=due.version,
            destination=due.destination,
            reason=error,
            again_in_s=round(again - self._clock(), 1) if again is not None else None,
        )

    def _give_up(self, due: Due, error: str) -> None:
        with self._ledger.transaction() as connection:
            outbox.give_up(connection, due, error, self._clock())
        log.error("delivery.dead", study=due.study_instance_uid, version=due.version, reason=error)

    def _pause(self) -> float:
        with self._ledger.transaction() as connection:
            due = outbox.next_due(connection, self._destination.name)
        if due is None:
            return _LONGEST_SLEEP_S
        return min(max(due - self._clock(), _BLOCKED_SLEEP_S), _LONGEST_SLEEP_S)
