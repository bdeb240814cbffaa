"""A node that reads its settings again and fails in the middle of it goes on, and does the rest later."""

from __future__ import annotations

import pytest

from dicom_node.core.errors import LedgerUnavailable
from dicom_node.ledger.database import open_ledger
from dicom_node.ledger.overview import Overview
from dicom_node.ledger.spool import StateFolders
from dicom_node.services.node import Node, Surroundings
from dicom_node.services.notify import Notifier
from dicom_node.settings import load


@pytest.fixture
def node(tmp_path):
    config = tmp_path / "dicom-node.toml"
    config.write_text('[node]\nstate_dir = "state"\n')
    folders = StateFolders(tmp_path / "state")
    folders.create()
    ledger = open_ledger(folders.ledger)
    node = Node(load(config), folders, ledger, Surroundings(config, Notifier()))
    yield node
    node._dispatcher._listener.close()
    ledger.close()


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
