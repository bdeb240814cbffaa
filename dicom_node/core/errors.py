"""The whole error tree: an error's type says what to do next.

Rejected: tell the sender (a DIMSE status) and keep nothing. Retryable: the same call may succeed later. Permanent: it
never will; record the reason and go on.
Messages are one line, name UIDs and never a patient, and say what a person should do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dicom_node.core.findings import Reason


class DicomNodeError(Exception):
    """Base of every error this package raises on purpose."""


class Rejected(DicomNodeError):
    """An instance is refused; `status` is the DIMSE status the sender gets (PS3.4 B.2.3)."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Retryable(DicomNodeError):
    """A passing failure: the caller records it and tries again later."""


class Permanent(DicomNodeError):
    """A failure that repeating cannot mend."""


class SettingsError(Permanent):
    """The configuration file cannot be used; the message names file, line, key and what is allowed."""


class LedgerError(Permanent):
    """The ledger cannot be opened as it is (corrupt, of a later schema, or held by another node)."""


class StateFolderBusy(Retryable):
    """Another node holds the state folder; it may be about to end."""


class LedgerUnavailable(Retryable):
    """A transaction failed and left nothing: the disk is full or broken, or the database is locked or gone."""


class BundleError(Permanent):
    """A model bundle is missing, altered or of the wrong shape; nothing may be scored with it."""


class MalformedDataSet(Permanent):
    """Received bytes are not a data set that may be read (PS3.5), or exceed a bound on nesting or element count."""


class NotAnalysable(Permanent):
    """This image gets no answer from the model; `reason` says why in a code and in words."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.text)
        self.reason = reason


class IdentityMismatch(Permanent):
    """Nobody can say for certain whose result this is; the message names the study and the attribute, never a value."""


class DestinationRefused(Permanent):
    """A destination answered that it will never take this object as it is."""


class DestinationUnavailable(Retryable):
    """A destination could not be reached, or answered that it cannot take the object now.

    retry_after_s: how long it asked to be left alone, 0 where it did not say.
    """

    def __init__(self, message: str, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class WorkerCrashed(Retryable):
    """A child process (decoder, worker) ended or hung before it answered."""


class EngineLost(Retryable):
    """The model's runtime failed under this process (no memory, no device); only a new process may succeed."""
