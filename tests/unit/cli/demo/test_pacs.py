from __future__ import annotations

import subprocess
import sys
import threading
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread

from dicom_node.cli.demo import pacs as demo
from dicom_node.cli.demo.pacs import EmbeddedPacs, end
from dicom_node.cli.demo.phantom import image, phantoms
from dicom_node.cli.demo.studies import collect
from dicom_node.cli.demo.walk import _free_ports
from dicom_node.core.study import Received
from dicom_node.dimse.scp import ScpSettings, StorageScp, WholeObjects
from dicom_node.dimse.scu import Peer, send
from dicom_node.part10 import writer


class FakeNode:
    def __init__(self, port: int) -> None:
        self.peer = Peer("DICOMNODE", "127.0.0.1", port, 60.0)
        self.received: list[Received] = []
        self.arrived = threading.Event()
        self.scp = StorageScp(ScpSettings("DICOMNODE", "127.0.0.1", port), WholeObjects(self.take))

    def take(self, received: Received) -> None:
        self.received.append(received)
        self.arrived.set()


@pytest.fixture(scope="module")
def phantom_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("phantom") / "pa.dcm"
    path.write_bytes(writer.encode(image(phantoms()[0], 0)))
    return path


def test_the_embedded_pacs_stores_and_forwards_what_a_modality_sends(tmp_path: Path, phantom_file: Path) -> None:
    pacs_port, node_port = _free_ports(2)
    node, pacs = FakeNode(node_port), EmbeddedPacs(tmp_path / "pacs", pacs_port)
    (study,), _ = collect([phantom_file])
    node.scp.start()
    pacs.start(node.peer)
    try:
        send(pacs.peer, "MODALITY", study.objects)
        assert node.arrived.wait(60)
        stored = pacs.instances(study.study_uid)
        returned = dcmread(BytesIO(pacs.read(stored[0])))
    finally:
        pacs.stop()
        node.scp.stop()
    assert stored == (study.objects[0].sop_instance_uid,)
    assert returned.PixelData == dcmread(phantom_file).PixelData
    assert [item.calling_ae for item in node.received] == [demo.AE_TITLE]


def test_the_embedded_pacs_does_not_send_the_node_its_own_results(tmp_path: Path, phantom_file: Path) -> None:
    pacs_port, node_port = _free_ports(2)
    node, pacs = FakeNode(node_port), EmbeddedPacs(tmp_path / "pacs", pacs_port)
    (study,), _ = collect([phantom_file])
    node.scp.start()
    pacs.start(node.peer)
    try:
        send(pacs.peer, "DICOMNODE", study.objects)
        assert not node.arrived.wait(1)
        assert pacs.instances(study.study_uid)
    finally:
        pacs.stop()
        node.scp.stop()


def test_stopping_before_starting_is_harmless(tmp_path: Path) -> None:
    pacs = EmbeddedPacs(tmp_path, _free_ports(1)[0])
    pacs.stop()
    pacs.stop()


def test_a_process_that_ignores_sigterm_is_ended_all_the_same() -> None:
    ignoring = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", ignoring], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    end(process, patience_s=0.2)
    process.stdout.close()
    assert process.poll() is not None
