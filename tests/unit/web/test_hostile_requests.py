"""What another site's page, or a stranger, may send: refused, with nothing asked and nothing told."""

from __future__ import annotations

import gzip
import hashlib
import re
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed

import pytest
from starlette.testclient import TestClient

from dicom_node.core.errors import SettingsError
from dicom_node.web.guard import MAX_BODY
from dicom_node.web.login import Login, hash_line
from tests.support.page_site import CANARY, Site, picture_uid, study_uid

ECHO = "/destinations/pacs/echo"


def token_of(browser) -> str:
    return re.search(r'name="token" value="([^"]+)"', browser.get("/").text)[1]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:11180", "localhost.evil.example", "169.254.169.254"])
def test_c52_a_foreign_host_is_refused(browser, host):
    answer = browser.get("/", headers={"Host": host})
    assert (answer.status_code, study_uid(1) in answer.text) == (421, False)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:11180", "127.0.0.1:11180", "[::1]:11180", "pacs-ai.clinic"])
def test_a_listed_host_is_known(tmp_path, host):
    client = TestClient(Site(tmp_path, hosts=("pacs-ai.clinic",)).app())
    assert client.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers", [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}]
)
def test_c52_another_sites_post_is_refused_even_with_the_token(site, browser, headers):
    answer = browser.post(ECHO, data={"token": token_of(browser)}, headers=headers)
    assert (answer.status_code, site.asked) == (403, [])


@pytest.mark.parametrize("form", [{}, {"token": ""}, {"token": "guessed"}, {"token": "\u00e9"}])
def test_c52_a_post_without_the_pages_token_is_refused(site, browser, form):
    assert (browser.post(ECHO, data=form).status_code, site.asked) == (403, [])


def test_with_the_token_a_destination_is_asked(site, browser):
    answer = browser.post(ECHO, data={"token": token_of(browser)}, headers={"Origin": "http://localhost"})
    assert (answer.status_code, answer.headers["location"], site.asked) == (303, "/", ["pacs"])
    assert "Answered in" in browser.get("/").text


def test_a_destination_that_is_not_ours_is_not_asked(site, browser):
    answer = browser.post("/destinations/10.0.0.9/echo", data={"token": token_of(browser)})
    assert (answer.status_code, site.asked) == (404, [])


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"])
def test_c52_other_methods_are_refused(browser, method):
    assert browser.request(method, "/").status_code == 405


@pytest.mark.parametrize("path", ["/", "/now", "/metrics", f"/studies/{study_uid(1)}", "/static/page.css"])
def test_c52_what_shows_takes_no_post(browser, path):
    assert browser.post(path).status_code == 405


@pytest.mark.parametrize(
    "path",
    [
        "/static/../../settings.py",
        "/static/..%2f..%2fsettings.py",
        "/static/%2e%2e/%2e%2e/settings.py",
        "/static/htmx.LICENSE",
        "/pictures/..%2f..%2fledger.sqlite",
        "/pictures/%2e%2e",
        "/studies/..%2f..%2fetc%2fpasswd",
        "/pictures/1.2.3%00.png",
        "/pictures/" + "1" * 4000,
    ],
)
def test_c52_no_path_leads_out(browser, path):
    answer = browser.get(path)
    assert answer.status_code == 404
    assert b"SQLite" not in answer.content


def test_c52_a_row_that_points_out_of_the_results_is_not_followed(site, browser):
    with site.writing() as connection:
        connection.exec_driver_sql("UPDATE version SET folder = '..' WHERE id = 1")
        connection.exec_driver_sql("UPDATE result_object SET file = 'ledger.sqlite' WHERE version_id = 1")
    assert browser.get(f"/pictures/{picture_uid(1, 'sc-1')}").status_code == 404


def test_c52_a_large_body_is_refused_whether_it_is_announced_or_not(site, browser):
    def endless():
        for _ in range(100):
            yield b"x" * 4096

    announced = browser.post(ECHO, content=b"x", headers={"Content-Length": str(4 << 30)})
    streamed = browser.post(ECHO, content=endless())
    filled = browser.post(ECHO, data={"token": token_of(browser), "more": "x" * MAX_BODY})
    assert [answer.status_code for answer in (announced, streamed, filled)] == [413] * 3
    assert site.asked == []


def test_c52_a_compressed_body_is_refused(site, browser):
    body = gzip.compress(f"token={token_of(browser)}".encode())
    answer = browser.post(ECHO, content=body, headers={"Content-Encoding": "gzip"})
    assert (answer.status_code, site.asked) == (415, [])


@pytest.mark.parametrize("path", ["/", "/now", f"/studies/{study_uid(1)}", "/studies/1.2.3", "/nowhere", "/metrics"])
def test_every_answer_carries_the_policy(browser, path):
    headers = browser.get(path).headers
    policy = headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert "default-src 'none'" in policy
    assert (headers["cache-control"], headers["x-content-type-options"]) == ("no-store", "nosniff")
    assert browser.get(path, headers={"Host": "evil.example"}).headers["content-security-policy"] == policy


def test_no_script_or_style_is_inline(site, browser):
    site.fail()
    for path in ("/", f"/studies/{study_uid(1)}"):
        text = browser.get(path).text
        assert re.findall(r"<script(?![^>]*src=)|<style|\sstyle=|\son[a-z]+=|javascript:", text) == []
        assert re.findall(r'(?:src|href)="(?!/|#)', text) == []


def test_htmx_is_the_file_that_was_published(browser):
    # htmx.org 2.0.11 on npm, dist/htmx.min.js; a newer one is a change of this line.
    published = "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717"
    assert hashlib.sha256(browser.get("/static/htmx.min.js").content).hexdigest() == published


def test_c52_what_a_row_says_is_text(site, browser):
    with site.writing() as connection:
        connection.exec_driver_sql("UPDATE version SET reason_text = '<script>alert(1)</script>'")
    text = browser.get("/").text
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text


def test_c51_nothing_that_a_sender_wrote_is_told(site, browser):
    with site.writing() as connection:
        connection.exec_driver_sql(
            "UPDATE instance SET calling_ae = 'CANARY', modality = 'CANARY', spool_key = 'CANARY' || id"
        )
        connection.exec_driver_sql("DELETE FROM audit WHERE event = 'instance.stored'")
    paths = ("/", "/now", "/metrics", f"/studies/{study_uid(1)}")
    assert [path for path in paths if "CANARY" in browser.get(path).text] == []


def test_c51_no_name_is_told_unless_it_is_wished(site, tmp_path):
    paths = ("/", "/now", "/metrics", f"/studies/{study_uid(1)}")
    shy = TestClient(site.app(), base_url="http://localhost")
    assert [path for path in paths if "Canary" in shy.get(path).text] == []
    open_ = TestClient(Site(tmp_path / "open", show_names=True).fill(1).app(), base_url="http://localhost")
    assert [path for path in paths if "Canary, Patient" in open_.get(path).text] == [paths[0], paths[1], paths[3]]
    assert CANARY.partition("^")[0] not in open_.get("/metrics").text


def test_with_a_login_nothing_is_shown_without_it(tmp_path, monkeypatch):
    monkeypatch.setattr("dicom_node.web.login.time.sleep", lambda _s: None)
    file = tmp_path / "users"
    file.write_text(hash_line("anna", "secret:with:colons") + "\n")
    file.chmod(0o400)
    client = TestClient(Site(tmp_path, password_file=str(file)).fill(1).app(), base_url="http://localhost")
    for path in ("/", "/metrics", "/static/page.css", f"/pictures/{picture_uid(1, 'sc-1')}"):
        assert client.get(path).status_code == 401
        assert client.get(path, auth=("anna", "secret")).status_code == 401
        assert client.get(path, auth=("otto", "secret:with:colons")).status_code == 401
        assert client.get(path, auth=("anna", "secret:with:colons")).status_code == 200
    assert client.get("/", headers={"Authorization": "Basic ???"}).status_code == 401


def test_many_wrong_logins_at_once_hold_nobody_up(tmp_path, monkeypatch):
    file = tmp_path / "users"
    file.write_text(hash_line("anna", "secret") + "\n")
    file.chmod(0o400)
    client = TestClient(Site(tmp_path, password_file=str(file)).app(), base_url="http://localhost")
    assert client.get("/", auth=("anna", "secret")).status_code == 200
    goes_on = threading.Event()
    monkeypatch.setattr("dicom_node.web.login.time.sleep", lambda _s: goes_on.wait(30))
    with ThreadPoolExecutor(5) as pool:
        wrong = [pool.submit(client.get, "/", auth=("anna", f"guess {number}")) for number in range(5)]
        try:
            first = next(as_completed(wrong, timeout=120)).result()
            assert (first.status_code, client.get("/", auth=("anna", "secret")).status_code) == (429, 200)
        finally:
            goes_on.set()
    assert sorted(one.result().status_code for one in wrong) == [401, 401, 401, 401, 429]


@pytest.mark.parametrize("text", ["", "anna", "anna:plain", "anna:scrypt$xx$yy"])
def test_a_password_file_that_says_nothing_is_refused(tmp_path, text):
    file = tmp_path / "users"
    file.write_text(text)
    file.chmod(0o400)
    with pytest.raises(SettingsError, match="--add-user"):
        Login(file)


def test_a_password_file_that_others_may_read_is_refused(tmp_path):
    file = tmp_path / "users"
    file.write_text(hash_line("anna", "secret"))
    file.chmod(0o644)
    with pytest.raises(SettingsError, match="chmod 400"):
        Login(file)
