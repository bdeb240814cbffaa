"""The status page in Chromium: by eye, by keyboard and by a screen reader; nothing is fetched from elsewhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dicom_node.web.outside import Certificate, NodeWord
from tests.support.page_site import Site, study_uid
from tests.support.waiting import until

SCREENSHOTS = Path(__file__).resolve().parents[2] / "build" / "screenshots"
WIDE, PHONE = 1280, 390


@pytest.fixture(scope="module")
def sites(tmp_path_factory):
    """A site where all is well, one where much is wrong, and one before its first start."""
    folder = tmp_path_factory.mktemp("sites")
    good, bad, new = Site(folder / "good").fill(), Site(folder / "bad").fill().fail(), Site(folder / "new")
    bad.node = replace(bad.node, workers=0)
    bad.certificates = (Certificate("DICOM certificate", 12.0),)
    bad.echo_problem = "MAINPACS at 10.0.0.7:104 cannot be reached: check that it runs"
    new.node = NodeWord("the node does not answer")
    return {"good": good, "bad": bad, "new": new}


@pytest.fixture(scope="module")
def addresses(sites):
    with sites["good"].served() as good, sites["bad"].served() as bad, sites["new"].served() as new:
        yield {"good": good, "bad": bad, "new": new}


@pytest.fixture
def tab(browser):
    """A tab; the test fails where the page complains or fetches from elsewhere."""
    opened = browser.new_page()
    complaints: list[str] = []
    opened.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("request", lambda request: None if "127.0.0.1" in request.url else complaints.append(request.url))
    yield opened
    opened.close()
    assert complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, PHONE])
def test_every_state_is_legible_at_every_width_and_by_a_screen_reader(tab, addresses, width, scheme):
    from axe_playwright_python.sync_playwright import Axe  # noqa: PLC0415 - not installed where this is skipped

    tab.set_viewport_size({"width": width, "height": 900})
    tab.emulate_media(color_scheme=scheme)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    paths = {"good": "/", "bad": "/", "new": "/", "study": f"/studies/{study_uid(1)}"}
    for name, path in paths.items():
        tab.goto(addresses.get(name, addresses["good"]) + path)  # until every picture is there
        pictures = tab.evaluate("Array.from(document.images, image => image.naturalWidth)")
        assert 0 not in pictures
        assert len(pictures) > (1 if name in {"good", "bad", "study"} else 0)
        tab.screenshot(path=SCREENSHOTS / f"page-{name}-{width}-{scheme}.png", full_page=True)
        found = Axe().run(tab).response["violations"]
        assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []
        assert tab.evaluate("document.documentElement.scrollWidth") <= width, "nothing is cut off at the right"


def test_what_changes_is_seen_without_loading_again(tab, addresses, sites):
    tab.goto(addresses["good"] + "/")
    assert tab.locator("#verdict").inner_text() == "Accepting images, nothing needs you"
    before = sites["good"].node
    sites["good"].node = replace(before, workers=0)
    try:
        tab.get_by_text("No worker is connected").wait_for()
        words = "Accepting images, 1 thing needs you"
        until(lambda: tab.title() == f"{words} · DICOMNODE", 20, "the title says so")
        until(lambda: tab.get_by_role("status").first.inner_text() == words, 20, "a screen reader says so")
    finally:
        sites["good"].node = before


def test_the_whole_page_is_reached_by_keyboard_and_an_echo_is_asked(tab, addresses, sites):
    tab.goto(addresses["bad"] + "/")
    reached = []
    for _ in range(20):
        tab.keyboard.press("Tab")
        reached.append(tab.evaluate("document.activeElement.id || document.activeElement.className"))
        assert tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
        if reached[-1] == "echo-pacs":
            break
    assert reached == ["skip", "brand", "echo-pacs"]
    tab.keyboard.press("Enter")
    tab.wait_for_selector("text=No echo at")
    assert sites["bad"].asked == ["pacs"]
    assert tab.evaluate("document.activeElement.id") == "echo-pacs"
    tab.keyboard.press("Tab")
    tab.keyboard.press("Tab")
    tab.keyboard.press("Enter")
    tab.wait_for_url("**/studies/*")


def test_a_server_that_is_gone_is_said(browser, tmp_path):
    tab = browser.new_page()
    with Site(tmp_path).fill(1).served() as address:
        tab.goto(address + "/")
        assert not tab.locator("#lost").is_visible()
    tab.locator("#lost").wait_for(state="visible")
    tab.close()
