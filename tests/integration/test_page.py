"""The status page beside a real node: what it says, what it asks, what it never tells."""

from __future__ import annotations

import re
import socket
import urllib.error
import urllib.parse
import urllib.request
from contextlib import suppress

import pytest

from dicom_node.cli.demo import phantom
from tests.support.node import Node
from tests.support.sender import RawSender
from tests.support.waiting import free_port, is_open, until

pytestmark = pytest.mark.timeout(300)


class Page:
    """The page of a node, over HTTP."""

    def __init__(self, node: Node, port: int) -> None:
        self.node = node
        self.port = port

    def get(self, path: str = "/") -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=60) as answer:
            return answer.read().decode("latin-1")

    def post(self, path: str, **form: str) -> int:
        body = urllib.parse.urlencode(form).encode()
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", body, timeout=60) as answer:
            return int(answer.status)

    def raw(self, request: bytes) -> bytes:
        """Send bytes as they are; returns the answer's first line."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as sock:
            with suppress(BrokenPipeError, ConnectionResetError):  # refused before it was all sent
                sock.sendall(request)
            return sock.makefile("rb").readline()


@pytest.fixture(scope="module")
def page(tmp_path_factory, bundle):
    """A node with its page; its one destination is itself, which answers an echo and refuses nothing."""
    node, port = Node(tmp_path_factory.mktemp("page"), bundle, quiet_s=3.0), free_port()
    node.settings["page"] = {"port": port}
    node.sends_to("itself", "DICOMNODE", node.port)
    with node:
        until(lambda: is_open(port), 60, "the page is served")
        yield Page(node, port)


def test_a_study_is_seen_from_the_first_step_to_its_pictures(page, tmp_path):
    until(lambda: "Accepting images, nothing needs you" in page.get(), 60, "all is well", every_s=0.5)
    assert "First steps" in page.get()
    files = phantom.write(tmp_path)
    assert all(answer.stored for answer in RawSender(page.node.port).send_all(files))
    studies = until(lambda: _answered(page), 60, "both drawn studies are answered", every_s=0.5)
    text = page.get()
    assert all(uid in text for uid in studies)
    picture = re.search(r"/pictures/[0-9.]+/small", text)
    assert picture, "at least one drawn study has a heatmap"
    assert page.get(picture[0]).startswith("\x89PNG")
    story = page.get(f"/studies/{studies[0]}")
    assert [word in story for word in ("Image received", "Study closed", "Result written")] == [True] * 3
    metrics = page.get("/metrics")
    assert f"dicom_node_closing_wait_seconds_count {len(studies)}.0" in metrics
    assert "dicom_node_workers 1.0" in metrics
    names = {str(name) for file in files for name in _names(file)}
    assert names
    told = text + story + metrics + page.node.log.read_text()
    assert [name for name in names if name in told] == []


def _answered(page) -> list[str]:
    found = page.node.studies()
    return list(found) if len(found) == 2 and all(one["outcome"] for one in found.values()) else []


def _names(file):
    from pydicom import dcmread  # noqa: PLC0415 - with its only use

    header = dcmread(file, stop_before_pixels=True)
    return [value for value in (header.PatientName, header.PatientID) if value]


def test_the_echo_button_asks_the_destination(page):
    token = re.search(r'name="token" value="([^"]+)"', page.get())[1]
    assert page.post("/destinations/itself/echo", token=token) == 200
    assert "Answered in" in page.get()


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", b"421"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", b"4"),
        (b"GET / HTTP/1.1\r\n\r\n", b"4"),
        (b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n", b"421"),
        (b"GET /static/../../settings.py HTTP/1.1\r\nHost: localhost\r\n\r\n", b"404"),
        (b"POST /destinations/itself/echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4294967296\r\n\r\nx", b"413"),
        (
            b"POST /destinations/itself/echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
             b"4000\r\n" + b"x" * 0x4000 + b"\r\n" + b"4000\r\n" + b"x" * 0x4000 + b"\r\n"
            + b"8001\r\n" + b"x" * 0x8001 + b"\r\n",
            b"413",
        ),
        (b"GET /" + b"x" * 200_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", b"4"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 500, b"4"),
    ],
    ids=["host", "two-hosts", "no-host", "absolute", "traversal", "4-GiB", "chunks", "long-line", "tls"],
)  # fmt: skip
def test_c52_hostile_bytes_are_refused_and_the_page_goes_on(page, request_, status):
    assert page.raw(request_).partition(b" ")[2].startswith(status)
    until(lambda: "Accepting images" in page.get(), 30, "the page shows how things stand")


def test_the_page_ends_with_its_node_and_comes_back(page):
    page.node.kill_supervisor()
    until(lambda: not is_open(page.port), 60, "the page has ended")
    page.node.start()
    until(lambda: is_open(page.port), 60, "the page is served again")
    assert "dicom_node_closing_wait_seconds_count 2.0" in page.get("/metrics")


def test_a_reload_of_the_node_is_one_of_the_page_and_a_bad_password_file_leaves_it_as_it_is(page):
    pids = {process.pid for process in page.node.tree()}
    text = page.node.config.read_text()
    passwords = page.node.folder / "nobody"
    page.node.config.write_text(text.replace("[page]", f'[page]\npassword_file = "{passwords}"'))
    assert page.node.ask("reload")["applied"] == ["page.password_file"]
    until(lambda: page.node.events("reload.refused"), 60, "the page says what is wrong")
    assert "nobody" in page.node.events("reload.refused")[-1]["reason"]
    assert "itself" in page.get()
    page.node.config.write_text(text.replace('name = "itself"', 'name = "renamed"'))
    assert set(page.node.ask("reload")["applied"]) == {"destinations", "page.password_file"}
    until(lambda: page.node.events("page.reloaded"), 60, "the page has taken it over")
    until(lambda: is_open(page.port), 60, "the page is served")
    assert "renamed" in page.get()
    assert {process.pid for process in page.node.tree()} == pids
