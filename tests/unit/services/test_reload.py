"""A reload that fails ends nothing: unchanged where the trail cannot take it, done again where it had begun."""

from __future__ import annotations

import pytest

from dicom_node import settings as configuration
from dicom_node.core.errors import LedgerUnavailable
from dicom_node.ledger.database import open_ledger
from dicom_node.ledger.overview import Overview
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
    node = Node(settings, folders, ledger, Surroundings(config, notify.notifier()))
    yield node
    node._dispatcher._listener.close()
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


@pytest.mark.parametrize("error", [LedgerUnavailable("the ledger cannot be written"), OSError(30, "Read-only")])
def test_c49_a_reload_that_fails_in_the_middle_is_done_again_and_ends_nothing(node, monkeypatch, error):
    with monkeypatch.context() as patch:

        def fails(_destinations):
            raise error

        patch.setattr(node._couriers, "apply", fails)
        assert "tried again" in node.reload()["refused"]
    assert node.reload_wanted.is_set()
    assert node.reload()["applied"] == ()
    assert [record.event for record in Overview(node._folders.ledger).trail()][-1] == "node.reloaded"
