"""What the page says: whether images are accepted, what is wrong, and the command that mends it."""

from __future__ import annotations

import html
import re
import shlex
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from starlette.testclient import TestClient

from dicom_node.cli.main import COMMANDS, build_parser
from dicom_node.web.facts import Disk
from dicom_node.web.outside import BundleWord, Certificate, NodeWord
from dicom_node.web.words import percent
from tests.support.page_site import NOW, PAGE, Site, picture_uid, study_uid

RULES = Path(__file__).resolve().parents[3] / "config" / "monitoring" / "dicom-node.rules.yml"


def verdict(text: str) -> str:
    return re.search(r'id="verdict"[^>]*>([^<]+)<', text)[1]


def problems(text: str) -> dict[str, str]:
    """Return the command of each problem by its heading."""
    found = re.findall(r"<h3>([^<]+)</h3>\s*<p>.*?</p>\s*<p>.*?<code>([^<]+)</code>", text, flags=re.DOTALL)
    return {html.unescape(what): html.unescape(command) for what, command in found}


def look(site: Site, path: str = "/") -> str:
    return TestClient(site.app(), base_url="http://localhost").get(path).text


def test_where_all_is_well_it_says_so(site):
    text = look(site)
    assert verdict(text) == "Accepting images, nothing needs you"
    assert problems(text) == {}
    assert [word in text for word in ("Positive", "91%", "Inconclusive", "Not analysed", "Negative")] == [True] * 5
    assert f"/pictures/{picture_uid(1, 'sc-2')}/small" in text
    assert text.index(study_uid(4)) < text.index(study_uid(1))


def test_before_the_first_start_it_tells_the_first_steps(tmp_path):
    site = Site(tmp_path)
    site.node = NodeWord("the node does not answer")
    text = look(site)
    assert verdict(text) == "Not started yet"
    assert "systemctl enable --now dicom-node.target" in text
    assert "AE title DICOMNODE" in text
    assert problems(text) == {}


def test_each_fault_comes_with_its_command(site):
    site.fail()
    site.node = replace(site.node, accepting=False, workers=0, late_loops=("closer",))
    site.bundle = BundleWord("None that can be used", "", problem="head.safetensors was altered")
    site.certificates = (Certificate("DICOM certificate", 12.0), Certificate("Page certificate", -2.0))
    text = look(site)
    assert verdict(text) == "Paused: not accepting images"
    assert problems(text) == {
        "The node does not accept images": "sudo dicom-node queue resume",
        "No worker is connected": "sudo systemctl restart dicom-node-worker@1",
        "A part of the node hangs": "sudo systemctl restart dicom-node",
        "The model cannot be used": "sudo dicom-node bundle",
        "pacs does not take results": "sudo dicom-node echo pacs",
        "1 result for teaching was given up": "sudo dicom-node dead replay",
        "1 result could not be written": "sudo dicom-node dead list",
        "Page certificate: has expired": "sudo dicom-node reload",
        "1 job waiting for long": "sudo dicom-node queue list",
        "DICOM certificate: expires in 12 days": "sudo dicom-node reload",
    }


def test_every_command_of_ours_is_one_that_exists(site):
    site.fail()
    site.node = replace(site.node, accepting=False)
    site.bundle = BundleWord("None", "", problem="gone")
    shown = [one.removeprefix("sudo ") for one in problems(look(site)).values()]
    shown += re.findall(r'command: "(.*)"', RULES.read_text().replace("{{ $labels.destination }}", "pacs"))
    ours = [shlex.split(one)[1:] for one in shown if one.startswith("dicom-node ")]
    parser = build_parser(set(COMMANDS) - {"lab", "engine"})
    assert len(ours) >= 15
    for words in ours:
        parser.parse_args(words)  # exits on what it does not know


@pytest.mark.parametrize(
    ("hard", "soft", "said"),
    [
        (1 << 40, 0, "Refusing images: the disk is full"),
        (0, 1 << 40, "Refusing images: the disk is full"),
        (0, 0, "Accepting"),
    ],
)
def test_a_full_disk_refuses_images_and_the_way_out_is_a_purge(site, hard, soft, said):
    node = site.settings.node.model_copy(update={"reserve_mib": hard})
    keep = site.settings.keep.model_copy(update={"soft_reserve_mib": soft})
    site.settings = site.settings.model_copy(update={"node": node, "keep": keep})
    if hard or soft:
        site.node = replace(site.node, accepting=False, problem="only 12 MiB are free for the state folder")
    text = look(site)
    assert verdict(text).startswith(said)
    assert problems(text) == ({"The disk is full": "sudo dicom-node purge"} if hard or soft else {})


def test_a_node_that_cannot_accept_is_not_said_to_be_paused(site):
    site.node = replace(site.node, accepting=False, problem="storage failed (EIO)")
    text = look(site)
    assert verdict(text) == "Refusing images"
    assert problems(text) == {"The node does not accept images": "sudo dicom-node doctor"}
    assert "Storage failed (EIO)." in text


def test_a_purged_study_has_no_pictures_and_its_page_says_the_rest(site):
    with site.writing() as connection:
        connection.exec_driver_sql("UPDATE study SET purged_at = 1")
    text, story = look(site), look(site, f"/studies/{study_uid(1)}")
    assert "/pictures/" not in text + story
    assert study_uid(1) in text
    assert "Result written" in story


def test_a_node_that_is_silent_is_said_and_its_ledger_still_shown(site):
    site.node = NodeWord("the node does not answer")
    text = look(site)
    assert verdict(text) == "Not running"
    assert problems(text) == {"The node is not running": "sudo systemctl start dicom-node.target"}
    assert study_uid(1) in text


def test_a_ledger_that_cannot_be_read_is_said(site):
    site.folders.ledger.write_bytes(b"no database" * 1000)
    text = look(site)
    assert problems(text) == {"The ledger cannot be read": "sudo dicom-node doctor"}
    assert TestClient(site.app(), base_url="http://localhost").get("/metrics").status_code == 200


def test_nothing_is_sent_twice_where_nothing_changed(site, browser, monkeypatch):
    monkeypatch.setattr("dicom_node.web.facts.disk_of", lambda _folder, reserve: Disk(5000.0, 9000.0, reserve))
    seen = re.search(r"/now\?seen=([0-9a-f]+)", browser.get("/").text)[1]
    assert browser.get(f"/now?seen={seen}").status_code == 204
    site.node = replace(site.node, workers=2)
    assert browser.get(f"/now?seen={seen}").status_code == 200
    site.node = replace(site.node, workers=1)
    site.now = NOW + 3.0
    assert browser.get(f"/now?seen={seen}").status_code == 204


def test_a_studys_page_tells_everything_in_order(site):
    text = look(site, f"/studies/{study_uid(1)}")
    events = ["Image received", "Study closed", "Result written", "Delivered"]
    timeline = text[text.index("timeline-title") :]
    assert re.findall(r"<b>([^<]+)</b>", timeline) == events
    assert re.findall(r'<a href="/pictures/([0-9.]+)"', text) == [picture_uid(1, "sc-1"), picture_uid(1, "sc-2")]
    assert TestClient(site.app(), base_url="http://localhost").get("/studies/1.2.3").status_code == 404


def test_a_study_is_found_by_its_uid(browser):
    found = browser.get("/studies", params={"uid": f" {study_uid(2)} "})
    assert (found.status_code, found.headers["location"]) == (303, f"/studies/{study_uid(2)}")
    for wrong in ("", "//evil.example", "1.2.3/../..", "1\r\nSet-Cookie: a=b"):
        refused = browser.get("/studies", params={"uid": wrong})
        assert (refused.status_code, refused.headers.get("location")) == (404, None)


def test_a_picture_is_the_page_that_was_written(browser):
    shown = Image.open(BytesIO(browser.get(f"/pictures/{picture_uid(1, 'sc-2')}").content))
    written = Image.open(PAGE).convert("RGB")
    assert shown.tobytes() == written.tobytes()
    small = Image.open(BytesIO(browser.get(f"/pictures/{picture_uid(1, 'sc-2')}/small").content))
    assert max(small.size) <= 240


def test_a_picture_that_was_removed_is_missed_and_nothing_else(site, browser):
    for file in site.folders.results.rglob("*.dcm"):
        file.unlink()
    assert browser.get(f"/pictures/{picture_uid(1, 'sc-2')}").status_code == 404
    assert browser.get("/").status_code == 200
    assert browser.get(f"/studies/{study_uid(1)}").status_code == 200


def test_no_probability_is_shown_as_a_certainty():
    assert [percent(value) for value in (None, 0.0, 0.004, 0.87, 0.996, 1.0)] == [
        "",
        "<1%",
        "<1%",
        "87%",
        ">99%",
        ">99%",
    ]
