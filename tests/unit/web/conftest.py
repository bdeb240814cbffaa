from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tests.support.page_site import Site


@pytest.fixture(scope="session")
def filled(tmp_path_factory) -> Path:
    """A folder of a site with studies of every outcome; to be copied."""
    folder = tmp_path_factory.mktemp("filled")
    Site(folder).fill(4)
    return folder


@pytest.fixture
def site(filled, tmp_path) -> Site:
    """A site with studies of every outcome."""
    shutil.copytree(filled, tmp_path, dirs_exist_ok=True, copy_function=_copy)
    return Site(tmp_path)


def _copy(source: str, target: str) -> None:
    """Copy what a test may change, and link what it does not."""
    os.link(source, target) if source.endswith(".dcm") else shutil.copy(source, target)


@pytest.fixture
def browser(site):
    """A client that does what a browser on this machine does; redirects are for the test to follow."""
    return TestClient(site.app(), base_url="http://localhost", follow_redirects=False)
