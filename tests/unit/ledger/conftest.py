from __future__ import annotations

from pathlib import Path

import pytest

from dicom_node.ledger.database import open_ledger


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request, tmp_path):
    """Return where an empty ledger is to be: in a file, and on a server."""
    if request.param == "sqlite":
        return tmp_path / "ledger.sqlite"
    return request.getfixturevalue("postgres").emptied(tmp_path)


@pytest.fixture
def server(place):
    """Return the same server, or None for the file in the state folder."""
    return None if isinstance(place, Path) else place


@pytest.fixture
def empty(place):
    """Return an open ledger in which nothing is."""
    ledger = open_ledger(place)
    yield ledger
    ledger.close()
