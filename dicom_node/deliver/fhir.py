"""A FHIR R4 server, or a folder, that gets a copy of each result."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dicom_node.core.delivery import Receipt, SlotSent
from dicom_node.core.errors import DestinationUnavailable
from dicom_node.deliver.brief import read_summary
from dicom_node.deliver.fhir_bundle import bundle
from dicom_node.deliver.web import Web, open_web

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dicom_node.deliver.parcel import Parcel
    from dicom_node.destination_settings import FhirDestination

_OK, _CREATED = 200, 201
_SLOT = "fhir"


class FhirSession:
    """Requests to a FHIR server, or files in a folder where there is none."""

    def __init__(self, destination: FhirDestination, web: Web | None) -> None:
        self._destination = destination
        self._web = web

    @property
    def accepted(self) -> frozenset[tuple[str, str]]:
        """Nothing: no SOP instances go here."""
        return frozenset()

    def deliver(self, parcel: Parcel) -> Receipt:
        """Post a result as one transaction, all or nothing, or write it as one file."""
        made = bundle(
            read_summary(parcel.folder), self._destination.positive_priority, transaction=self._web is not None
        )
        content = json.dumps(made, ensure_ascii=False, indent=None if self._web else 1).encode()
        if self._web is None:
            return self._write(parcel, content)
        headers = {"Content-Type": "application/fhir+json", "Accept": "application/fhir+json"}
        answer = self._web.request("POST", "", [content], headers)
        if answer.status in {_OK, _CREATED}:
            return Receipt((SlotSent(_SLOT, None, answer.status, "transaction stored"),))
        return Receipt((SlotSent(_SLOT, None, answer.status, "refused"),), self._web.refusal(answer))

    def _write(self, parcel: Parcel, content: bytes) -> Receipt:
        """Write a file that appears whole or not at all; a later version has a name of its own."""
        folder = self._destination.folder
        if folder is None:
            raise AssertionError  # the settings ask for url or folder
        final = folder / f"{parcel.study_instance_uid}.v{parcel.version}.json"
        part = final.with_suffix(".part")
        try:
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            part.replace(final)
        except OSError as error:
            message = f"{self._destination.name}: {folder} cannot be written ({type(error).__name__})"
            raise DestinationUnavailable(message) from error
        return Receipt((SlotSent(_SLOT, None, 0, f"written as {final.name}"),))


@contextmanager
def open_fhir(destination: FhirDestination) -> Iterator[FhirSession]:
    """Yield a connection to a FHIR server, or to a folder."""
    if not destination.url:
        yield FhirSession(destination, None)
        return
    with open_web(destination) as web:
        yield FhirSession(destination, web)
