"""Credentials and the environment take precedence over the file, and a mistake in them is told by their name."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import pytest

from dicom_node.core.errors import SettingsError
from dicom_node.overrides import _plain
from dicom_node.settings import load

FILE = "[node]\nport = 4000\n[[destinations]]\nname = 'my-pacs'\nae_title = 'A'\nhost = 'h'\nport = 1\n"


@pytest.fixture
def config(tmp_path):
    file = tmp_path / "node.toml"
    file.write_text(FILE)
    (tmp_path / "credentials").mkdir()
    return file


def credential(config, name, text, mode=0o400):
    file = config.parent / "credentials" / name
    file.write_text(text)
    file.chmod(mode)
    return file


def test_the_environment_is_stronger_than_a_credential_and_that_than_the_file(config, monkeypatch):
    assert load(config).node.port == 4000
    credential(config, "node.port", "4001\n")
    assert load(config).node.port == 4001
    monkeypatch.setenv("DICOM_NODE__NODE__PORT", "4002")
    assert load(config).node.port == 4002


def test_each_value_has_the_type_that_its_key_wants(config, monkeypatch):
    for name, value in {
        "NODE__AE_TITLE": "104",
        "ANALYSIS__PROVIDERS": '["CUDAExecutionProvider", "CPUExecutionProvider"]',
        "STUDY__QUIET_S": "2.5",
        "ANALYSIS__FALLBACK": "false",
        "ANALYSIS__RUNTIME": "onnxruntime",
        "DESTINATIONS__MY_PACS__HOST": "192.0.2.7",
    }.items():
        monkeypatch.setenv(f"DICOM_NODE__{name}", value)
    settings = load(config)
    assert settings.node.ae_title == "104"
    assert settings.analysis.providers == ("CUDAExecutionProvider", "CPUExecutionProvider")
    assert (settings.study.quiet_s, settings.analysis.fallback, settings.analysis.runtime) == (
        2.5,
        False,
        "onnxruntime",
    )
    assert settings.destinations[0].host == "192.0.2.7"


def test_what_systemd_loads_from_a_folder_is_found_and_a_path_stays_a_path(config, tmp_path, monkeypatch):
    loaded = tmp_path / "loaded"
    loaded.mkdir()
    (loaded / "credentials_destinations.my-pacs.host").write_text("192.0.2.8")
    (loaded / "credentials_node.state_dir").write_text("the content of a file that a path names")
    (loaded / "no-setting").write_text("somebody else's")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(loaded))
    settings = load(config)
    assert settings.destinations[0].host == "192.0.2.8"
    assert settings.node.state_dir == loaded / "credentials_node.state_dir"


@pytest.mark.parametrize("name", ["page.password_file", "page.certificate", "page.key", "audit.ca_file", "audit.key"])
def test_a_credential_for_a_setting_that_names_a_file_is_that_file_and_its_content_stays_in_it(name, config):
    section, key = name.split(".")
    pair = {"certificate": "key", "key": "certificate"}.get(key) if section == "page" else None
    config.write_text(FILE + (f"[page]\n{pair} = 'other.pem'\n" if pair else ""))
    file = credential(config, name, "a secret")
    assert getattr(getattr(load(config), section), key) == str(file)


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("DICOM_NODE__NODE__PORT", "0", "DICOM_NODE__NODE__PORT: node.port: "),
        ("DICOM_NODE__NODE__PORT", "9" * 5000, "DICOM_NODE__NODE__PORT: node.port: "),
        ("DICOM_NODE__NODE__PROT", "1", "DICOM_NODE__NODE__PROT: node.prot: unknown key; allowed here: ae_title"),
        ("DICOM_NODE__NODES__PORT", "1", "DICOM_NODE__NODES__PORT"),
        ("DICOM_NODE__DESTINATIONS__OTHER__HOST", "h", "destinations has no block called 'other'"),
        ("DICOM_NODE__NODE__PORT__DEEPER", "1", "there is no setting node.port.deeper"),
    ],
)
def test_a_mistake_is_told_by_the_variable(variable, value, told, config, monkeypatch):
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as caught:
        load(config)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_credential_that_others_may_read_is_refused(config):
    file = credential(config, "destinations.my-pacs.host", "h", 0o444)
    with pytest.raises(SettingsError, match=f"chmod 400 {file}"):
        load(config)


def test_what_systemd_has_brought_is_not_read_from_its_source_again(config, tmp_path, monkeypatch):
    credential(config, "node.port", "1", 0o444)  # root's own, perhaps: not to be looked at
    loaded = tmp_path / "loaded"
    loaded.mkdir()
    (loaded / "credentials_node.port").write_text("4005")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(loaded))
    assert load(config).node.port == 4005


def test_a_setting_that_may_be_absent_has_the_type_that_it_has_where_it_is_set():
    assert _plain(Path | None) is Path
    assert _plain(Optional[Path]) is Path  # noqa: UP045 - as older code writes it
    assert _plain(str) is str
    assert _plain(int | str) is None


def test_peers_go_by_their_title_and_each_kind_of_destination_knows_its_types(tmp_path, monkeypatch):
    file = tmp_path / "node.toml"
    file.write_text(
        '[[node.peers]]\nae_title = "PACS1"\naddresses = ["10.1.2.3"]\n'
        '[[destinations]]\nname = "copies"\nkind = "fhir"\nurl = "http://127.0.0.1:1/fhir"\n'
    )
    monkeypatch.setenv("DICOM_NODE__NODE__PEERS__PACS1__ADDRESSES", '["10.9.9.0/24"]')
    monkeypatch.setenv("DICOM_NODE__DESTINATIONS__COPIES__TIMEOUT_S", "7")
    monkeypatch.setenv("DICOM_NODE__DESTINATIONS__COPIES__CA_FILE", "ca.pem")
    settings = load(file)
    assert settings.node.peers[0].addresses == ("10.9.9.0/24",)
    assert (settings.destinations[0].timeout_s, settings.destinations[0].ca_file.name) == (7.0, "ca.pem")
