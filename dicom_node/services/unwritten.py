"""Jobs whose answer the ledger could not take: leased still, done by nobody, and given again once it can."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from dicom_node.core.errors import LedgerUnavailable
from dicom_node.ledger import jobs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dicom_node.ledger.database import Database
    from dicom_node.ledger.jobs import Lease


class Unwritten:
    """Leases that wait for the ledger; used by every worker's thread."""

    def __init__(self) -> None:
        self._leases: list[Lease] = []

    @contextmanager
    def given_again(self, lease: Lease) -> Iterator[None]:
        """Remember a job where the ledger fails while it is given or its answer is taken."""
        try:
            yield
        except LedgerUnavailable:
            self._leases.append(lease)
            raise

    @contextmanager
    def released(self, ledger: Database) -> Iterator[Any]:
        """Yield the connection of a transaction in which these jobs are ready again."""
        leases = tuple(self._leases)
        with ledger.transaction() as connection:
            for lease in leases:
                jobs.release(connection, lease)
            yield connection
        for lease in leases:
            with suppress(ValueError):  # another worker's thread was faster
                self._leases.remove(lease)
