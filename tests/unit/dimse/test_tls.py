from __future__ import annotations

import shutil
import ssl
from datetime import datetime, timezone

import pytest

from dicom_node.core.errors import SettingsError
from dicom_node.deliver.dicom import peer_of
from dicom_node.destination_settings import DicomDestination
from dicom_node.dimse.tls import TlsFiles, client_context, days_left, server_context
from tests.support.authority import Authority

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"), "ours")


@pytest.mark.parametrize("days", [-1, 20, 20_000])
def test_days_left_are_those_of_the_certificate(authority, days):
    """20,000 days lead beyond 2049, where certificates write the year with four digits."""
    made = authority.sign(f"days{days}", days=days)
    assert days_left(made.certificate, datetime.now(timezone.utc)) == pytest.approx(days, abs=0.1)


def test_what_is_no_certificate_is_told_with_its_file(authority, tmp_path):
    broken = tmp_path / "broken.pem"
    broken.write_text("-----BEGIN CERTIFICATE-----\nMAAw\n-----END CERTIFICATE-----\n")
    good = authority.sign("good")
    with pytest.raises(SettingsError, match=r"broken\.pem"):
        days_left(broken, datetime.now(timezone.utc))
    for make in (server_context, client_context):
        with pytest.raises(SettingsError, match=r"broken\.pem"):
            make(TlsFiles(broken, good.key, authority.own.certificate))
        with pytest.raises(SettingsError, match=r"missing\.pem"):
            make(TlsFiles(good.certificate, good.key, tmp_path / "missing.pem"))
        with pytest.raises(SettingsError, match="its key"):
            make(TlsFiles(good.certificate, authority.own.key, authority.own.certificate))


def test_c09_what_a_context_of_ours_asks_of_the_other_side(authority):
    own = authority.sign("asks")
    files = TlsFiles(own.certificate, own.key, authority.own.certificate)
    for context in (server_context(files), client_context(files)):
        assert (context.minimum_version, context.verify_mode) == (ssl.TLSVersion.TLSv1_2, ssl.CERT_REQUIRED)
    assert client_context(files, check_hostname=True).check_hostname


@pytest.mark.parametrize("checked", [True, False])
def test_c09_a_destinations_name_is_held_against_its_certificate_where_that_is_set(authority, checked):
    block = {"name": "pacs", "ae_title": "PACS", "host": "localhost", "port": 104}
    files = {"tls_ca_file": str(authority.own.certificate), "tls_check_host": checked}
    peer = peer_of(DicomDestination.model_validate(block | files))
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    named_otherwise = authority.sign("elsewhere.example")
    server.load_cert_chain(named_otherwise.certificate, named_otherwise.key)
    there = [ssl.MemoryBIO() for _ in range(4)]
    accepting = server.wrap_bio(there[0], there[1], server_side=True)
    calling = peer.tls.wrap_bio(there[2], there[3], server_hostname=peer.host)
    said = ""
    for _ in range(4):
        for side, outgoing, incoming in ((calling, there[3], there[0]), (accepting, there[1], there[2])):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLCertVerificationError as error:
                said = error.verify_message
            except ssl.SSLError:
                pass  # the other side, which is told so
            incoming.write(outgoing.read())
    assert ("ostname mismatch" in said) is checked
