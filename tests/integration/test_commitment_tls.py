"""Storing, asking for storage commitment and the report on it, all over TLS with certificates on both sides."""

from __future__ import annotations

import ssl

import pytest

from dicom_node.dimse.tls import TlsFiles, client_context, server_context
from tests.support.authority import Authority
from tests.support.committing import CommittingPacs, information, listening, report_anew
from tests.support.published import Outgoing

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def files(tmp_path, openssl_installed, monkeypatch):  # noqa: ARG001 - a fixture cannot be marked
    """Return what node, PACS and a stranger hold: each its own certificate, the stranger's of another CA."""
    monkeypatch.setattr("pynetdicom._config.UNRESTRICTED_STORAGE_SERVICE", False)
    ours, foreign = Authority(tmp_path, "ours"), Authority(tmp_path, "foreign")
    made = {"node": ours.sign("node"), "pacs": ours.sign("pacs"), "stranger": foreign.sign("stranger")}
    return {name: TlsFiles(one.certificate, one.key, ours.own.certificate) for name, one in made.items()}


def secured(pacs, own, ca):
    """Return the PACS as a destination, to which we show a certificate of our own."""
    shown = {"tls_certificate_file": str(own.certificate), "tls_key_file": str(own.key)}
    return pacs.destination(tls_ca_file=str(ca), **shown)


def test_a_result_is_stored_asked_for_and_reported_over_tls(files, tmp_path):
    pacs = CommittingPacs()
    pacs.tls = server_context(files["pacs"])
    with pacs, Outgoing(tmp_path / "state", secured(pacs, files["node"], files["node"].ca)) as node:
        node.publish("1.2.3")
        node.courier("pacs").step()
        node.asker("pacs", stay_s=0.0).step()
        delivery = node.delivery("1.2.3", "pacs")
        assert (delivery["state"], delivery["proof"], len(pacs.stored)) == ("done", "asked", 3)
        (asked,) = pacs.requests
        with listening(node, tls=files["node"]) as scp:
            for stranger in (None, client_context(files["stranger"])):
                with pytest.raises(AssertionError):
                    report_anew(scp.port, information(asked), stranger)
            assert node.delivery("1.2.3", "pacs")["proof"] == "asked"
            assert report_anew(scp.port, information(asked), client_context(files["pacs"])) == 0
        assert node.delivery("1.2.3", "pacs")["proof"] == "committed"


@pytest.mark.parametrize("side", ["we are strangers to it", "it is a stranger to us"])
def test_nothing_leaves_over_tls_where_one_side_does_not_know_the_other(files, tmp_path, side):
    pacs, ours = CommittingPacs(), side == "we are strangers to it"
    pacs.tls = server_context(files["pacs" if ours else "stranger"])
    pacs.tls.maximum_version = ssl.TLSVersion.TLSv1_2  # there the refusal is part of the handshake
    own = files["stranger" if ours else "node"]
    with pacs, Outgoing(tmp_path / "state", secured(pacs, own, own.ca)) as node:
        node.publish("1.2.3")
        node.courier("pacs").step()
        delivery = node.delivery("1.2.3", "pacs")
        assert (delivery["state"], pacs.associations, pacs.stored) == ("ready", 0, [])
        assert "TLS" in delivery["last_error"]
