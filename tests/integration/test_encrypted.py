"""A hospital where everything is encrypted: old studies are fetched, and the node finds itself in order."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from dicom_node.cli.doctor.network import own_context
from dicom_node.dimse.tls import TlsFiles
from tests.support.archive import Archive
from tests.support.authority import Authority
from tests.support.node import Node, command
from tests.support.requirements import require

pytestmark = pytest.mark.timeout(300)


@dataclass
class Hospital:
    node: Node
    studies: set[str]
    foreign: Authority

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        line = [command(), *words, "--config", str(self.node.config)]
        return subprocess.run(line, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture(scope="module")
def hospital(tmp_path_factory, bundle, factory):
    require(shutil.which("openssl"), "openssl")
    folder = tmp_path_factory.mktemp("hospital")
    ca = Authority(folder, "ours")
    ours, theirs, trusted = ca.sign("node"), ca.sign("archive"), ca.own.certificate
    node = Node(folder / "node", bundle)
    node.settings["node.tls"] = {
        "certificate": str(ours.certificate),
        "key": str(ours.key),
        "ca": str(trusted),
    }
    studies = [factory.study(views=1) for _ in range(2)]
    files = [file for study in studies for file in study.files]
    with Archive(files, TlsFiles(theirs.certificate, theirs.key, trusted), node.port) as archive:
        own = {"tls_certificate_file": str(ours.certificate), "tls_key_file": str(ours.key)}
        node.sends_to("archive", "ARCHIVE", archive.port, tls_ca_file=str(trusted), **own)
        with node:
            yield Hospital(node, {study.study_instance_uid for study in studies}, Authority(folder, "foreign"))


def test_old_studies_are_fetched_over_tls(hospital):
    done = hospital.run("backfill", "archive", "--from", "2026-01-01", "--per-minute", "600", "--json")
    told = json.loads(done.stdout)
    assert (told["found"], told["fetched"], told["instances"], told["failed"]) == (2, 2, 2, []), done.stderr
    assert {row["study_instance_uid"] for row in hospital.node.instances()} == hospital.studies


def own_echo(hospital: Hospital) -> tuple[str, str]:
    found = {one["check"]: one for one in json.loads(hospital.run("doctor", "--json").stdout)}["own C-ECHO"]
    return found["state"], found["seen"]


def test_the_node_is_asked_over_tls_by_its_own_certificate(hospital):
    state, seen = own_echo(hospital)
    assert (state, seen.partition(" in ")[0]) == ("good", "DICOMNODE answers over TLS")


def test_a_certificate_that_only_serves_is_told_from_one_that_calls_too(hospital):
    tls, serves = hospital.node.settings["node.tls"], hospital.foreign.sign("node")
    assert own_context(TlsFiles(serves.certificate, serves.key, Path(tls["ca"]))) is None
    assert own_context(TlsFiles(*(Path(tls[name]) for name in ("certificate", "key", "ca")))) is not None
