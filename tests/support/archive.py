"""An archive behind TLS that is asked for its studies and sends them: C-FIND and C-MOVE, on loopback."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE, build_context, evt
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

from dicom_node.dimse.tls import TlsFiles, client_context, server_context
from tests.support.waiting import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from typing_extensions import Self


class Archive:
    """It holds some files, knows the node by its port, and speaks TLS with whoever shows a certificate of its CA."""

    def __init__(self, files: list[Path], tls: TlsFiles, node_port: int) -> None:
        self.port = free_port()
        self._held = [dcmread(file) for file in files]
        self._tls = tls
        self._node_port = node_port
        self._server: Any = None

    def __enter__(self) -> Self:
        ae = AE(ae_title="ARCHIVE")
        for model in (
            Verification,
            StudyRootQueryRetrieveInformationModelFind,
            StudyRootQueryRetrieveInformationModelMove,
        ):
            ae.add_supported_context(model)
        handlers: list[Any] = [(evt.EVT_C_FIND, self._find), (evt.EVT_C_MOVE, self._move)]
        context: ssl.SSLContext = server_context(self._tls)
        where = ("127.0.0.1", self.port)
        self._server = ae.start_server(where, block=False, evt_handlers=handlers, ssl_context=context)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()

    def _find(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        for uid in dict.fromkeys(one.StudyInstanceUID for one in self._held):
            found = Dataset()
            found.QueryRetrieveLevel, found.StudyInstanceUID = "STUDY", uid
            found.StudyDate, found.ModalitiesInStudy = event.identifier.StudyDate, ["DX"]
            yield 0xFF00, found

    def _move(self, event: Any) -> Iterator[Any]:
        wanted = [one for one in self._held if one.StudyInstanceUID == event.identifier.StudyInstanceUID]
        contexts = [build_context(one.SOPClassUID, one.file_meta.TransferSyntaxUID) for one in wanted]
        tls = (client_context(self._tls), None)
        yield "127.0.0.1", self._node_port, {"ae_title": event.move_destination, "contexts": contexts, "tls_args": tls}
        yield len(wanted)
        for one in wanted:
            yield 0xFF00, one
