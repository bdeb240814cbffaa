from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from tests.support.page_site import Site


@pytest.fixture
def site(tmp_path) -> Site:
    """A site with studies of every outcome."""
    return Site(tmp_path).fill(4)


@pytest.fixture
def browser(site):
    """A client that does what a browser on this machine does; redirects are for the test to follow."""
    return TestClient(site.app(), base_url="http://localhost", follow_redirects=False)
