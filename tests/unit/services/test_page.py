"""What the page asks: every kind of destination, and the certificates that are in use."""

from __future__ import annotations

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dicom_node.services import page, process
from dicom_node.services.following import Following
from dicom_node.services.page import surroundings
from dicom_node.settings import Settings
from tests.support.authority import Authority
from tests.support.requirements import require
from tests.support.waiting import free_port

DESTINATIONS = [
    {"kind": "dicom", "name": "pacs", "ae_title": "MAINPACS", "host": "10.0.0.7", "port": 104},
    {"kind": "dicomweb", "name": "archive", "url": "https://pacs.example.org/dicom-web"},
    {"kind": "fhir", "name": "worklist", "url": "https://fhir.example.org/r4"},
    {"kind": "hl7", "name": "ris", "host": "10.0.0.8", "port": 2575},
]


def asked(**sections):
    return surroundings(Settings.model_validate(sections), Path("/etc/dicom-node/dicom-node.toml"))


def test_every_kind_of_destination_says_where_it_is():
    assert {one.name: one.address for one in asked(destinations=DESTINATIONS).destinations} == {
        "pacs": "MAINPACS at 10.0.0.7:104",
        "archive": "DICOMweb at https://pacs.example.org/dicom-web",
        "worklist": "FHIR at https://fhir.example.org/r4",
        "ris": "HL7 at 10.0.0.8:2575",
    }


def test_an_echo_is_the_probe_of_its_kind(tmp_path):
    folder = tmp_path / "results"
    outside = asked(destinations=[{"kind": "fhir", "name": "worklist", "folder": str(folder)}])
    assert outside.echo("worklist") == f"worklist: {folder} is no folder that can be written"
    folder.mkdir()
    assert outside.echo("worklist") is None


def test_the_days_of_each_certificate_in_use_are_told_and_a_file_that_is_none_is_said(tmp_path):
    require(shutil.which("openssl"), "openssl")
    made, other = Authority(tmp_path, "hospital").sign("node", days=10), tmp_path / "page.pem"
    other.write_text("no certificate")
    tls = {"certificate": made.certificate, "key": made.key, "ca": made.certificate}
    found = asked(node={"tls": tls}, page={"certificate": str(other), "key": str(made.key)}).certificates()
    assert [one.name for one in found] == ["DICOM certificate", "Page certificate"]
    assert found[0].days == pytest.approx(10, abs=0.1)
    assert found[1].days is None


@pytest.mark.timeout(60)
def test_a_stop_that_comes_between_two_servings_ends_the_next(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "on_stop_signal", lambda _stop: None)
    settings = Settings.model_validate({"node": {"state_dir": str(tmp_path)}, "page": {"port": free_port()}})
    stopping = threading.Event()
    stopping.set()
    following = Following(settings, tmp_path / "none.toml", lambda _settings: None)
    with ThreadPoolExecutor(1) as thread:  # this one may have a browser's event loop
        assert thread.submit(page._serve, following, tmp_path / "none.toml", stopping).result(60) == process.EXIT_OK
