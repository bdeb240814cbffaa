from __future__ import annotations

import importlib.util

import pytest

from tests.support import chromium, dicomweb, orthanc, viewer
from tests.support.dicomweb import DicomWebOrthanc
from tests.support.node import Node
from tests.support.requirements import require
from tests.support.system import BUNDLE
from tests.support.viewer import Viewer
from tests.support.viewer_screen import Ohif
from tests.support.waiting import free_port


@pytest.fixture(scope="session")
def installed() -> None:
    require(orthanc.is_installed() and dicomweb.is_installed(), "Orthanc with DICOMweb (orthanc, orthanc-dicomweb)")
    require(viewer.is_here(), "the viewer (scripts/setup viewer)")


@pytest.fixture(scope="session")
def node_port() -> int:
    return free_port()


@pytest.fixture(scope="session")
def pacs(tmp_path_factory, installed, node_port):  # noqa: ARG001 - a fixture cannot be marked
    with DicomWebOrthanc(tmp_path_factory.mktemp("pacs"), node_port) as running:
        yield running


@pytest.fixture(scope="session")
def node(tmp_path_factory, pacs, node_port):
    """A node that sends to that PACS; it analyses what a test makes the PACS send."""
    made = Node(tmp_path_factory.mktemp("node"), BUNDLE, quiet_s=3.0, port=node_port)
    with made.sends_to("pacs", pacs.ae_title, pacs.dicom_port) as running:
        yield running


@pytest.fixture(scope="session")
def ohif_server(pacs):
    with Viewer(pacs.http_port) as serving:
        yield serving


@pytest.fixture(scope="session")
def browser():
    """The one browser of all tests: Playwright starts no second in the same thread."""
    require(chromium.executable(), "Chromium")
    require(importlib.util.find_spec("playwright"), "playwright (scripts/setup dev)")
    with chromium.browser() as opened:
        yield opened


@pytest.fixture(scope="session")
def window(installed, browser):  # noqa: ARG001 - as above
    return browser


@pytest.fixture
def page(window):
    opened = window.new_page()
    yield opened
    opened.close()


@pytest.fixture
def ohif(page) -> Ohif:
    return Ohif(page)
