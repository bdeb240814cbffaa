"""The requestor against peers that encrypt, and against bytes that no peer should send."""

from __future__ import annotations

import contextlib
import shutil
import socket
import struct
import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dicom_node.core.errors import DestinationUnavailable
from dicom_node.deliver.dicom import peer_of
from dicom_node.destination_settings import DicomDestination
from dicom_node.dimse.requestor import Peer
from dicom_node.dimse.scu import Outgoing, dataset_of, open_sender
from tests.support.certificates import certificate
from tests.support.parcels import EXPLICIT, SC, write_result
from tests.support.stub_pacs import Listener, accept_association
from tests.support.waiting import free_port, is_open, until

pytestmark = pytest.mark.timeout(180)


def pdu(kind, body):
    return struct.pack(">BBI", kind, 0, len(body)) + body


def command(elements):
    body = b"".join(struct.pack("<HHI", 0, element, len(value)) + value for element, value in elements)
    return pdu(4, struct.pack(">IBB", len(body) + 2, 1, 3) + body)


ANSWERS = st.one_of(
    st.binary(max_size=64),
    st.builds(pdu, st.integers(0, 8), st.binary(max_size=64)),
    st.builds(lambda n: struct.pack(">BBI", 4, 0, n), st.integers(0, 2**32 - 1)),
    st.builds(
        command, st.lists(st.tuples(st.sampled_from([0x0120, 0x0900, 0x0100]), st.binary(max_size=6)), max_size=4)
    ),
)


@given(answer=ANSWERS, negotiated=st.booleans())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_peer_answers_is_a_status_or_unavailable(tmp_path, answer, negotiated):
    item = write_result(tmp_path)[1]
    outgoing = Outgoing(item.sop_class_uid, item.sop_instance_uid, EXPLICIT, tmp_path / item.file)

    def serve(sock):
        if negotiated:
            accept_association(sock)
            sock.recv(1 << 16)
        else:
            sock.recv(1 << 16)
        sock.sendall(answer)

    with Listener(serve) as listener, contextlib.suppress(DestinationUnavailable):
        peer = Peer("X", "127.0.0.1", listener.port, timeout_s=20.0)
        with open_sender(peer, "NODE", [outgoing.context]) as sender:
            if sender.accepted:
                assert 0 <= sender.store(outgoing) <= 0xFFFF


def test_a_transfer_syntax_that_was_not_proposed_is_no_association():
    def serve(sock):
        accept_association(sock, syntax=b"1.2.840.10008.1.2.2")
        sock.recv(1)

    with Listener(serve) as listener:
        peer = Peer("X", "127.0.0.1", listener.port, timeout_s=20.0)
        with pytest.raises(DestinationUnavailable, match="not proposed"), open_sender(peer, "NODE", [(SC, EXPLICIT)]):
            pass


@pytest.mark.usefixtures("dcmtk_installed", "openssl_installed")
def test_results_go_to_dcmtk_over_tls_with_certificates_on_both_sides(tmp_path):
    certificate(tmp_path, "pacs")
    certificate(tmp_path, "node")
    certificate(tmp_path, "stranger")
    port, received = free_port(), tmp_path / "received"
    received.mkdir()
    program = str(shutil.which("storescp", path="/usr/local/bin:/usr/bin"))
    line = [program, "+tls", "pacs.key", "pacs.pem", "+cf", "node.pem", "-rc", "-od", "received", "+B", str(port)]
    item = write_result(tmp_path / "result")[3]
    outgoing = Outgoing(item.sop_class_uid, item.sop_instance_uid, EXPLICIT, tmp_path / "result" / item.file)

    def destination(ca="pacs", own="node"):
        files = {"tls_ca_file": f"{ca}.pem", "tls_certificate_file": f"{own}.pem", "tls_key_file": f"{own}.key"}
        paths = {key: tmp_path / name for key, name in files.items()}
        return DicomDestination(name="pacs", ae_title="PACS", host="127.0.0.1", port=port, timeout_s=20.0, **paths)

    server = subprocess.Popen(line, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: is_open(port), 60, "storescp listens")
        with open_sender(peer_of(destination()), "NODE", [outgoing.context]) as sender:
            assert sender.store(outgoing) == 0
        for wrong in (destination(ca="stranger"), destination(own="stranger")):
            with pytest.raises(DestinationUnavailable), open_sender(peer_of(wrong), "NODE", [outgoing.context]):
                pass
    finally:
        server.terminate()
        server.wait()
    (file,) = received.iterdir()
    assert file.read_bytes().endswith(bytes(dataset_of(outgoing.path)))


def test_bytes_arrive_as_they_lie_on_disk_whatever_the_longest_pdu(tmp_path):
    item = write_result(tmp_path)[3]
    outgoing = Outgoing(item.sop_class_uid, item.sop_instance_uid, EXPLICIT, tmp_path / item.file)
    content = outgoing.path.read_bytes()
    outgoing.path.write_bytes(
        content + b"\x09\x00\x10\x00UN\x00\x00\x40\x0d\x03\x00" + bytes(range(256)) * 781 + bytes(64)
    )
    seen = bytearray()

    def serve(sock):
        accept_association(sock, longest=4096)
        header = 0
        while header & 3 != 2:
            head = sock.recv(6, socket.MSG_WAITALL)
            body = sock.recv(struct.unpack(">I", head[2:])[0], socket.MSG_WAITALL)
            assert len(body) <= 4096
            header = body[5]
            if not header & 1:
                seen.extend(body[6:])
        sock.sendall(command([(0x0120, b"\x01\x00"), (0x0900, b"\x00\xb0")]))
        sock.recv(16)

    with Listener(serve) as listener:
        with open_sender(Peer("X", "127.0.0.1", listener.port, timeout_s=20.0), "NODE", [outgoing.context]) as sender:
            assert sender.store(outgoing) == 0xB000
        assert outgoing.path.read_bytes().endswith(bytes(seen))
        assert len(seen) > 200_000
