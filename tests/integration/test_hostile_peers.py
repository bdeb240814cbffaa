"""Who may connect: TLS on both sides and the list of peers, against a running node (cases C8, C9 and C11)."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from dicom_node.dimse.tls import TlsFiles, client_context
from tests.support.authority import Authority, Certificate
from tests.support.node import Node
from tests.support.requirements import require
from tests.support.sender import storescu
from tests.support.waiting import until
from tests.support.wire import (
    ACCEPTED,
    CR,
    EXPLICIT,
    REJECTED,
    RELEASE_RQ,
    RawPeer,
    associate_rq,
    context,
)
from tests.unit.part10.test_header import a_radiograph, encoded

pytestmark = pytest.mark.timeout(180)

LIMIT_S = 20.0  # how long something is waited for that comes at once
CT = "1.2.840.10008.5.1.4.1.1.2"


@dataclass
class Site:
    node: Node
    ca: Authority
    pacs: Certificate
    modality: Certificate
    stranger: Certificate
    expired: Certificate


@pytest.fixture(scope="module")
def site(tmp_path_factory, bundle):
    """A TLS node with three listed peers: one by certificate, one for one SOP class only, one with a rate."""
    require(shutil.which("openssl"), "openssl")
    folder = tmp_path_factory.mktemp("tls")
    ca, foreign = Authority(folder, "ours"), Authority(folder, "foreign")
    server, pacs, modality = ca.sign("node"), ca.sign("pacs"), ca.sign("modality")
    node = Node(folder / "node", bundle)
    node.settings["node"] |= {"request_timeout_s": 3.0}
    node.settings["node.tls"] = {
        "certificate": str(server.certificate),
        "key": str(server.key),
        "ca": str(ca.own.certificate),
    }
    node.settings["node.peers"] = [
        {"ae_title": "PACS", "addresses": ["127.0.0.0/28"], "certificate_sha256": pacs.fingerprint()},
        {"ae_title": "MODALITY", "addresses": ["127.0.0.1"], "sop_classes": [CR]},
        {"ae_title": "QUICK", "addresses": ["127.0.0.1"], "associations_per_minute": 2},
    ]
    node.start(wait_worker=False)
    yield Site(node, ca, pacs, modality, foreign.sign("stranger"), ca.sign("expired", days=-1))
    node.stop()


def trusting(site: Site, own: Certificate | None) -> ssl.SSLContext:
    """Return a client that believes the node, shows `own`, and knows no limits of its own."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.load_verify_locations(site.ca.own.certificate)
    made.set_ciphers("ALL:@SECLEVEL=0")
    if own is not None:
        made.load_cert_chain(own.certificate, own.key)
    return made


@contextmanager
def refused_once(site: Site) -> Iterator[None]:
    """Wait until the refusal of what comes is logged."""
    before = len(site.node.events("association.refused"))
    yield
    refused = until(lambda: site.node.events("association.refused")[before:], LIMIT_S, "the refusal is logged")
    assert [event["kind"] for event in refused] == ["tls"]


def answer(site: Site, own: Certificate, calling: bytes, source: str = "127.0.0.1") -> tuple[int, bytes]:
    context_ = trusting(site, own)
    with RawPeer(site.node.port, source) as peer:
        peer.secure(context_).send(associate_rq(context(1, CR, (EXPLICIT,)), calling=calling))
        kind, body = peer.pdu()
        if kind == ACCEPTED:
            peer.send(RELEASE_RQ).pdu()
        return kind, body[:4] if kind == REJECTED else b""


def test_an_instance_arrives_over_tls(site):
    assert site.node.events("certificate.expires")[0]["days_left"] < 30
    ds = a_radiograph()
    ds.SOPInstanceUID = "1.2.3.9"
    ds.add_new(0x7FE00010, "OW", bytes(3_000_000))
    own = client_context(TlsFiles(site.pacs.certificate, site.pacs.key, site.ca.own.certificate))
    with RawPeer(site.node.port) as peer:
        status = peer.secure(own).associate(context(1, CR, (EXPLICIT,)), calling=b"PACS").store("1.2.3.9", encoded(ds))
    assert status == 0
    (row,) = [row for row in site.node.instances() if row["sop_instance_uid"] == "1.2.3.9"]
    assert row["calling_ae"] == "PACS"


def test_dcmtk_verifies_over_tls(site):
    program = storescu()
    require(program, "DCMTK's echoscu")
    echoscu = Path(program).with_name("echoscu")
    files = ["+tls", site.pacs.key, site.pacs.certificate, "+cf", site.ca.own.certificate]
    line = [echoscu, "-v", *files, "-aet", "PACS", "-aec", "DICOMNODE", "127.0.0.1", str(site.node.port)]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_c08_fifty_silent_and_plain_clients_of_the_tls_port_harm_nobody(site):
    hello = ssl.MemoryBIO()
    client = trusting(site, site.pacs).wrap_bio(ssl.MemoryBIO(), hello)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    with ExitStack() as open_peers:
        sources = [f"127.0.0.{number % 10 + 2}" for number in range(50)]  # so many may wait from one address
        silent = [open_peers.enter_context(RawPeer(site.node.port, source)) for source in sources]
        half = open_peers.enter_context(RawPeer(site.node.port, "127.0.0.12")).send(hello.read()[:100])
        plain = open_peers.enter_context(RawPeer(site.node.port, "127.0.0.12")).send(associate_rq(context(1)))
        assert answer(site, site.pacs, b"PACS")[0] == ACCEPTED
        assert all(peer.closed_within(LIMIT_S) for peer in (plain, half, *silent))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_c09_old_versions_get_no_handshake(site, version):
    old = trusting(site, site.pacs)
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        old.minimum_version = old.maximum_version = version
    with refused_once(site), RawPeer(site.node.port) as peer, pytest.raises(ssl.SSLError):
        peer.secure(old)


@pytest.mark.parametrize("suite", ["AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA256", "ECDHE-ECDSA-AES128-SHA"])
def test_c09_suites_without_forward_secrecy_or_aead_get_no_handshake(site, suite):
    weak = trusting(site, site.pacs)
    weak.maximum_version = ssl.TLSVersion.TLSv1_2
    weak.set_ciphers(f"{suite}:@SECLEVEL=0")
    with refused_once(site), RawPeer(site.node.port) as peer, pytest.raises(ssl.SSLError):
        peer.secure(weak)


@pytest.mark.parametrize("who", ["nobody", "stranger", "expired"])
def test_c09_without_a_certificate_of_our_ca_there_is_no_association(site, who):
    own = trusting(site, None if who == "nobody" else getattr(site, who))
    own.maximum_version = ssl.TLSVersion.TLSv1_2  # there the refusal is part of the handshake
    with refused_once(site), RawPeer(site.node.port) as peer, pytest.raises((ssl.SSLError, ConnectionError)):
        peer.secure(own)


def test_c11_only_a_listed_title_with_its_address_and_certificate_is_let_in(site):
    refused = (REJECTED, b"\0\1\1\3")
    assert answer(site, site.pacs, b"PACS")[0] == ACCEPTED
    assert answer(site, site.modality, b"MODALITY")[0] == ACCEPTED
    assert answer(site, site.pacs, b"SOMEBODY") == refused
    assert answer(site, site.modality, b"PACS") == refused  # the right title with another certificate
    assert answer(site, site.modality, b"MODALITY", "127.0.0.3") == refused  # from another address


def test_c11_an_address_that_no_peer_has_is_closed_unread(site):
    with RawPeer(site.node.port, "127.0.0.99") as peer:
        assert peer.closed_within(LIMIT_S)
    assert site.node.events("connection.refused")[-1]["peer"] == "127.0.0.99"


def test_c11_a_peer_may_only_send_its_sop_classes(site):
    with RawPeer(site.node.port) as peer:
        peer.secure(trusting(site, site.modality))
        peer.send(associate_rq(context(1, CR, (EXPLICIT,)) + context(3, CT, (EXPLICIT,)), calling=b"MODALITY"))
        kind, body = peer.pdu()
        peer.send(RELEASE_RQ).pdu()
    assert kind == ACCEPTED
    assert b"\x21\0\0\x1b\1\0\0\0" in body  # context 1: acceptance
    assert b"\x21\0\0\x1b\3\0\3\0" in body  # context 3: abstract syntax not supported


def test_c11_above_its_rate_a_peer_is_told_to_come_back(site):
    answers = [answer(site, site.modality, b"QUICK") for _ in range(3)]
    assert answers == [(ACCEPTED, b""), (ACCEPTED, b""), (REJECTED, b"\0\2\3\1")]
