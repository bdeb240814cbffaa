"""A reload that cannot be written into the trail changes nothing, and ends nothing."""

from __future__ import annotations

import pytest

from dicom_node import settings as configuration
from dicom_node.core.errors import LedgerUnavailable
from dicom_node.ledger.database import open_ledger
from dicom_node.ledger.spool import StateFolders
from dicom_node.services import notify
from dicom_node.services.node import Node, Surroundings

FILE = "[node]\nstate_dir = 'state'\nmax_associations = {}\n"


@pytest.fixture
def config(tmp_path):
    file = tmp_path / "node.toml"
    file.write_text(FILE.format(3))
    return file


@pytest.fixture
def node(config):
    settings = configuration.load(config)
    folders = StateFolders.of(settings.node)
    folders.create()
    ledger = open_ledger(folders.ledger)
    yield Node(settings, folders, ledger, Surroundings(config, notify.notifier()))
    ledger.close()


def test_what_the_ledger_cannot_take_is_refused_and_the_settings_in_force_stay(node, config, monkeypatch):
    config.write_text(FILE.format(7))
    with monkeypatch.context() as broken:

        def unwritten(_settings: configuration.Settings) -> None:
            message = "the ledger cannot be written"
            raise LedgerUnavailable(message)

        broken.setattr(node._auditor, "note_settings", unwritten)
        assert node.reload() == {"refused": "the ledger cannot be written"}
        assert node._scp._settings.max_associations == 3
    assert node.reload()["applied"] == ("node.max_associations",)
    assert node._scp._settings.max_associations == 7


def test_a_garbled_file_is_refused(node, config):
    config.write_text("[node]\nport = " + "9" * 5000)
    assert "not valid TOML" in node.reload()["refused"]
