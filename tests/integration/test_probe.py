"""`dicom-node destinations --test`: what a destination of each kind says, without anything of a patient."""

from __future__ import annotations

import socket

import pytest

from dicom_node.core.errors import DestinationRefused, DestinationUnavailable
from dicom_node.deliver.probe import probe
from dicom_node.destination_settings import DicomDestination, FhirDestination, Hl7Destination
from dicom_node.dimse.scp import ScpSettings, StorageScp, WholeObjects
from tests.support.stub_web import Reply, StubWeb
from tests.support.waiting import free_port

pytestmark = pytest.mark.timeout(180)
SHORT = {"timeout_s": 20.0}


def test_a_pacs_says_whether_it_answers_and_what_it_takes():
    scp = StorageScp(ScpSettings("PACS", "127.0.0.1", 0), WholeObjects(lambda _received: None))
    scp.start()
    try:
        pacs = DicomDestination(name="pacs", ae_title="PACS", host="127.0.0.1", port=scp.port, **SHORT)
        found = probe(pacs, "NODE")
        assert found["answer"] == "answers C-ECHO"
        assert ("1.2.840.10008.5.1.4.1.1.88.33", "1.2.840.10008.1.2.1") in found["accepted"]
        with pytest.raises(DestinationUnavailable, match="rejected"):
            probe(pacs.model_copy(update={"ae_title": "OTHER"}), "NODE")
    finally:
        scp.stop()


def test_an_hl7_receiver_is_reached_and_nothing_is_said_to_it():
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        ris = Hl7Destination(kind="hl7", name="ris", host="127.0.0.1", port=server.getsockname()[1], **SHORT)
        assert probe(ris, "NODE") == {"answer": "takes connections"}
        with server.accept()[0] as peer:
            assert peer.recv(100) == b""
    with pytest.raises(DestinationUnavailable):
        probe(ris.model_copy(update={"port": free_port()}), "NODE")


def test_a_folder_is_tried_and_a_server_asked_for_what_it_is(tmp_path):
    folder = FhirDestination(kind="fhir", name="files", folder=tmp_path)
    assert probe(folder, "NODE") == {"answer": "can be written"}
    with pytest.raises(DestinationRefused, match="no folder"):
        probe(folder.model_copy(update={"folder": tmp_path / "none"}), "NODE")
    for status, usable in ((200, True), (500, False), (401, False), (404, False)):
        with StubWeb(lambda _seen, status=status: Reply(status)) as web:
            server = FhirDestination(kind="fhir", name="server", url=f"{web.url}/r4", **SHORT)
            if usable:
                assert probe(server, "NODE") == {"answer": "answers HTTP 200"}
            else:
                with pytest.raises((DestinationRefused, DestinationUnavailable), match=str(status)):
                    probe(server, "NODE")
            assert [(seen.path, seen.body) for seen in web.seen] == [("/r4/metadata", b"")]
