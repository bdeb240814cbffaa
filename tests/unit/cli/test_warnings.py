"""What `check` and `doctor` warn of beforehand: reports that would be turned away, and a clock that is wrong."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from dicom_node.cli.doctor import network
from dicom_node.cli.doctor.findings import Patient, State
from dicom_node.cli.main import main
from dicom_node.core.running import EARLIEST
from dicom_node.core.study import Quiet
from dicom_node.dimse.pdu import Rejection
from dicom_node.dimse.peers import AllowedPeer, AllowList
from dicom_node.ledger import audit, instances, studies
from dicom_node.ledger.database import open_ledger, version
from dicom_node.ledger.spool import StateFolders
from dicom_node.settings import load
from tests.support.authority import Authority
from tests.unit.ledger.arrivals import an_arrival

NODE = "[node]\nstate_dir = 'state'\nport = 1\n"
OPEN = NODE + "host = '0.0.0.0'\n"
PACS = "[[destinations]]\nname = 'pacs'\nae_title = 'PACS'\nport = 104\n"
PEER = "[[node.peers]]\nae_title = 'PACS'\naddresses = ['192.0.2.0/24']\n"
OTHER = "[[node.peers]]\nae_title = 'CT1'\naddresses = ['192.0.2.0/24']\n"


@pytest.fixture
def said(tmp_path, capsys):
    """Return what a command says of a configuration."""

    def run(text: str, *words: str):
        file = tmp_path / "node.toml"
        file.write_text(text)
        main([*words, "--config", str(file), "--json"])
        return json.loads(capsys.readouterr().out), load(file)

    return run


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (OPEN + PEER + PACS + "host = '192.0.2.7'\n", ""),
        (OPEN + PEER + PACS + "host = 'pacs.example'\n", ""),
        (NODE + PACS + "host = '127.0.0.1'\n", ""),
        (NODE + PACS + "host = 'localhost'\ncommitment = 'required'\n", ""),
        (OPEN + OTHER + PACS + "host = '192.0.2.7'\ncommitment = 'none'\n", ""),
        (OPEN + OTHER + PACS + "host = '192.0.2.7'\n", "PACS is none of the peers"),
        (OPEN + OTHER + PACS + "host = 'pacs.example'\ncommitment = 'required'\n", "PACS is none of the peers"),
        (OPEN + PEER + PACS + "host = '198.51.100.7'\n", "PACS may not come from 198.51.100.7"),
        (NODE + PACS + "host = '192.0.2.7'\n", "no other machine is let in"),
    ],
)
def test_a_pacs_that_could_not_report_its_storage_commitment_is_named(said, text, why):
    found, settings = said(text, "check")
    warnings = [one for one in found["warnings"] if one.startswith("commitment of pacs: ")]
    assert [why in one for one in warnings] == ([True] if why else [])
    assert bool(why) != is_let_in(settings) or settings.destinations[0].commitment == "none"
    patient = Patient(Path(found["config"]), settings, StateFolders(settings.node.state_dir), None)
    assert [(one.check, one.state) for one in network.reports(patient)] == [("commitment of pacs", State.NOTE)] * bool(
        why
    )


def is_let_in(settings):
    """Ask what decides it when the PACS does come."""
    peers = AllowList(tuple(AllowedPeer(peer.ae_title, peer.networks) for peer in settings.node.peers))
    host = settings.destinations[0].host
    address = {"localhost": "127.0.0.1", "pacs.example": "192.0.2.9"}.get(host, host)
    try:
        peers.admit(settings.destinations[0].ae_title, address, None)
    except Rejection:
        return False
    return peers.lists_address(address)


def test_c46_a_clock_that_was_never_set_is_said(said, monkeypatch):
    assert not any("clock" in one for one in said(NODE, "check")[0]["warnings"])
    monkeypatch.setattr("dicom_node.cli.check.time.time", lambda: EARLIEST - 1)
    assert any("clock was never set" in one for one in said(NODE, "check")[0]["warnings"])
    assert {one["check"]: one["state"] for one in said(NODE, "doctor")[0]}["clock"] == "bad"


def test_c46_results_with_a_wrong_date_are_said(said, tmp_path):
    now = time.time()
    ledger = open_ledger(tmp_path / "state" / "ledger.sqlite")
    with ledger.transaction() as connection:
        instances.record(connection, an_arrival("1.2.3.1"), Quiet(0, 0), "bundle", now)
        studies.close_due(connection, "bundle", now)
        audit.note(connection, now, "clock.stepped", detail="the clock went ahead by 5 s", by_s=5.0)
    dates = {one["check"]: one for one in said(NODE, "doctor")[0]}["dates of results"]
    assert (dates["state"], dates["seen"]) == ("note", "the clock went ahead by 5 s")
    with ledger.transaction() as connection:
        connection.execute(version.update().values(state="published", published_at=now + 86400.0))
    dates = {one["check"]: one for one in said(NODE, "doctor")[0]}["dates of results"]
    assert (dates["state"], dates["seen"].startswith("1 result of the future")) == ("bad", True)
    ledger.close()


@pytest.mark.parametrize(
    ("days", "state", "words"), [(-1, State.BAD, "expired 1 d ago"), (5, State.BAD, "good for 5 d")]
)
def test_c09_a_certificate_that_expires_or_has_is_told_by_check_and_doctor(said, tmp_path, days, state, words):
    authority = Authority(tmp_path, "hospital")
    own = authority.sign("node", days=days)
    files = f"certificate = '{own.certificate}'\nkey = '{own.key}'\nca = '{authority.own.certificate}'\n"
    found, settings = said(f"{NODE}[node.tls]\n{files}", "check")
    assert [one for one in found["warnings"] if words in one and "renew it" in one] == found["warnings"][: days < 0]
    finding = network.certificate(Patient(Path("node.toml"), settings, StateFolders(tmp_path), None))
    assert (finding.state, words in finding.seen) == (state, True)
    assert "dicom-node reload" in finding.do
