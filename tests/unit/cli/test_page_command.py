"""`dicom-node page`: a user gets a password, and nobody listens to the world without one."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

from dicom_node.cli import exits
from dicom_node.cli.main import main
from dicom_node.core.errors import SettingsError
from dicom_node.settings import load
from dicom_node.web.login import Login


@pytest.fixture
def config(tmp_path):
    file = tmp_path / "node.toml"
    file.write_text("[page]\npassword_file = 'users'\n")
    return file


def add(config, name: str, password: str, monkeypatch) -> int:
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{password}\n"))
    return main(["page", "--add-user", name, "--config", str(config)])


def test_a_user_is_added_and_a_password_replaced(config, monkeypatch):
    given = []
    config.write_text(config.read_text() + "[node]\nstate_dir = 'state'\n")
    (config.parent / "state").mkdir()
    service = os.stat_result((0o40700, 0, 0, 0, 7, 8, 0, 0, 0, 0))
    state_of = Path.stat
    monkeypatch.setattr(Path, "stat", lambda path, **more: service if path.name == "state" else state_of(path, **more))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("os.chown", lambda _path, owner, group: given.append((owner, group)))
    for name, password in (("anna", "first"), ("otto", "his"), ("anna", "second")):
        assert add(config, name, password, monkeypatch) == exits.GOOD
    file = config.parent / "users"
    assert (file.stat().st_mode & 0o777, file.read_text().count("anna:")) == (0o600, 1)
    assert given == [(7, 8)] * 3, "the page's own user may read it"
    assert "second" not in file.read_text()
    login = Login(file)
    monkeypatch.setattr("dicom_node.web.login.time.sleep", lambda _s: None)
    rights = [login._is_right(*one) for one in (("anna", "second"), ("anna", "first"), ("otto", "his"), ("eve", ""))]
    assert rights == [True, False, True, False]


@pytest.mark.parametrize(
    ("name", "password"), [("", "secret"), ("anna", ""), ("an:na", "secret"), ("an\tna", "secret")]
)
def test_what_is_no_user_is_refused(config, name, password, monkeypatch, capsys):
    assert add(config, name, password, monkeypatch) == exits.USAGE
    assert capsys.readouterr().err.count("\n") == 1
    assert not (config.parent / "users").exists()


@pytest.mark.parametrize(
    "more", ["", "password_file = 'users'", "certificate = 'c.pem'\nkey = 'k.pem'", "certificate = 'c.pem'"]
)
def test_a_page_beyond_loopback_wants_password_and_certificate(tmp_path, more):
    file = tmp_path / "node.toml"
    file.write_text(f"[page]\nhost = '0.0.0.0'\n{more}\n")
    with pytest.raises(SettingsError, match=r"node\.toml:1: page: .*(reached from elsewhere|belong together)"):
        load(file)
    file.write_text("[page]\nhost = '0.0.0.0'\npassword_file = 'u'\ncertificate = 'c'\nkey = 'k'\n")
    assert load(file).page.key == str(tmp_path / "k")
