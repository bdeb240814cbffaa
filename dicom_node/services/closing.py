"""The loop that closes studies whose time has come and queues the composition of those that are analysed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from dicom_node.ledger import studies

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from dicom_node.ledger.database import Database
    from dicom_node.services.threads import Bell

log = structlog.get_logger(__name__)

_LONGEST_SLEEP_S = 5.0


class Closer:
    """Looks at the rows whenever something changed, and when the next study is due."""

    def __init__(
        self,
        ledger: Database,
        bundle_sha256: str,
        bell: Bell,
        clock: Callable[[], float],
        stopping: threading.Event,
        on_promoted: Callable[[int], object] = int,
    ) -> None:
        self._ledger = ledger
        self._bundle_sha256 = bundle_sha256
        self._bell = bell
        self._clock = clock
        self._stopping = stopping
        self._on_promoted = on_promoted

    def run(self) -> None:
        """Close and promote until the node stops."""
        while not self._stopping.is_set():
            heard = self._bell.count()
            pause = self.step()
            self._bell.wait(heard, pause)

    def step(self) -> float:
        """Do what is due now and return for how many seconds there is nothing to do."""
        now = self._clock()
        with self._ledger.transaction() as connection:
            closed = studies.close_due(connection, self._bundle_sha256, now)
            promoted = studies.promote_waiting(connection, now)
            due = studies.next_closing(connection)
        for item in closed:
            log.info("study.closed", study=item.study_instance_uid, version=item.version, views=item.views)
        for version_id in promoted:
            self._on_promoted(version_id)  # before anyone is woken: what was composed ahead needs no worker
        if promoted:
            self._bell.ring()
        return _LONGEST_SLEEP_S if due is None else min(max(due - self._clock(), 0.0), _LONGEST_SLEEP_S)
