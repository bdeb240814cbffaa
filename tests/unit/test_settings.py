"""The configuration: every mistake names file, line, key and what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicom_node import settings
from dicom_node.core.errors import SettingsError

MANUAL = Path(__file__).parents[2] / "config" / "dicom-node.toml"

WEB = "[[destinations]]\nname = 'a'\nkind = '{}'\nurl = '{}'"


def problem(tmp_path, text):
    file = tmp_path / "node.toml"
    file.write_text(text)
    with pytest.raises(SettingsError) as error:
        settings.load(file)
    return str(error.value).removeprefix(str(file))


def test_an_empty_file_means_the_manual(tmp_path):
    (tmp_path / "empty.toml").write_text("")
    manual = settings.Settings.model_validate(settings.tomllib.loads(MANUAL.read_text()))
    assert manual == settings.Settings()


def test_an_unknown_key_is_named_with_its_line_and_what_is_allowed(tmp_path):
    said = problem(tmp_path, "[node]\nae_title = 'A'\nprot = 104\n")
    assert said.startswith(":3: node.prot: unknown key; allowed here: ae_title, host, port,")


def test_an_unknown_section_is_named(tmp_path):
    said = problem(tmp_path, "\n[nodes]\nport = 104\n")
    assert said.startswith(":2: nodes: unknown key; allowed here: node, study,")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[node]\nport = 99999", ":2: node.port: Input should be less than or equal to 65535, not 99999"),
        ("[node]\nport = 'x'", ":2: node.port: Input should be a valid integer"),
        ("[node]\nae_title = 'a title that is too long'", ":2: node.ae_title: an AE title has 1 to 16 ASCII"),
        ("[node]\nport = " + "9" * 5000, ": not valid TOML: "),
        ("a = " + "[" * 3000, ": not valid TOML: "),
        ("[node]\nhost = '[::1]'", ":2: node.host: Value error, a host name or an address is needed"),
        ("[node]\nhost = '192.0.2.1:104'", ":2: node.host: Value error, a host name or an address is needed"),
        ("[node]\nhost = ''", ":2: node.host: Value error, a host name or an address is needed"),
        ("[audit]\nsyslog = 'tls://h:99999'", ":2: audit.syslog: Value error, the port of a URL"),
        ("[audit]\nsyslog = 'udp://h'", ":2: audit.syslog: String should match"),
        ("[log]\ntraces = 'http://h:0/v1'", ":2: log.traces: Value error, the port of a URL"),
        ("[log]\ntraces = 'http://[::1/v1'", ":2: log.traces: Value error, Invalid IPv6 URL"),
        (WEB.format("dicomweb", "https://h:80443/x"), ":4: destinations[0].url: Value error, the port of a URL"),
        (WEB.format("fhir", "https://h:x/x"), ":4: destinations[0].url: Value error, the port of a URL"),
        (WEB.format("fhir", "https://.../x"), ":4: destinations[0].url: Value error, a host name or an address"),
        (WEB.format("dicomweb", "ftp://h/x"), ":4: destinations[0].url: String should match"),
        ("[[destinations]]\nname = 'a'\nae_title = 'A'\nhost = '..'\nport = 1", ":4: destinations[0].host: Value"),
        ("[destinations]\nname = 'a'", ":1: destinations: write [[destinations]]"),
        ("[[node]]\nport = 1", ":1: node: write [node], once"),
        ("[page]\nhosts = 'a'", ":2: page.hosts: a list is needed, not 'a'"),
        ("[study]\nquiet_s = -1", ":2: study.quiet_s: Input should be greater than or equal to 0, not -1"),
        ("[log]\nlevel = 'loud'", ":2: log.level: Input should be 'debug', 'info', 'warning' or 'error', not 'loud'"),
        ("[[destinations]]\nname = 'a'\nae_title = 'A'\nhost = 'h'", ":1: destinations[0].port: is required"),
    ],
)
def test_a_bad_value_is_named_with_its_line_and_what_is_allowed(tmp_path, text, said):
    assert problem(tmp_path, text).startswith(said)


def test_hosts_and_urls_of_every_kind_are_taken(tmp_path):
    file = tmp_path / "node.toml"
    hosts = ("::1", "localhost", "pacs_1.example.", "bücher.example", "192.0.2.1", "fe80::1%eth0")
    block = "[[destinations]]\nname = '{}'\nae_title = 'A'\nport = 1\nhost = '{}'\n"
    file.write_text("".join(block.format(f"d{number}", host) for number, host in enumerate(hosts)))
    assert tuple(one.host for one in settings.load(file).destinations) == hosts
    for url in ("http://h", "https://[2001:db8::1]:8443/dicom-web", "http://pacs.example:8042/x/y"):
        file.write_text(WEB.format("dicomweb", url))
        assert settings.load(file).destinations[0].url == url


def test_the_second_destination_is_found(tmp_path):
    block = "[[destinations]]\nname='{}'\nae_title='A'\nhost='h'\nport={}\n"
    said = problem(tmp_path, block.format("a", 1) + block.format("b", 0))
    assert said.startswith(":10: destinations[1].port:")


def test_two_destinations_of_one_name_are_refused(tmp_path):
    block = "[[destinations]]\nname='a'\nae_title='A'\nhost='h'\nport=1\n"
    assert "the name 'a' is used twice" in problem(tmp_path, block * 2)


def test_a_missing_file_and_bad_toml_are_said(tmp_path):
    with pytest.raises(SettingsError, match="dicom-node init"):
        settings.load(tmp_path / "none.toml")
    assert "not valid TOML" in problem(tmp_path, "[node")


def test_a_file_of_a_windows_editor_is_read_or_told_what_it_lacks(tmp_path):
    file = tmp_path / "node.toml"
    file.write_text("[node]\r\nport = 4000\r\n", encoding="utf-8-sig")
    assert settings.load(file).node.port == 4000
    file.write_text("[node]\nport = 4000\n", encoding="utf-16")
    with pytest.raises(SettingsError, match="not text in UTF-8"):
        settings.load(file)


def test_relative_paths_belong_to_the_files_folder(tmp_path):
    (tmp_path / "c.toml").write_text("[node]\nstate_dir = 'state'\n")
    assert settings.load(tmp_path / "c.toml").node.state_dir == tmp_path / "state"


def test_the_default_bundle_is_found_wherever_the_file_lies(tmp_path):
    (tmp_path / "c.toml").write_text("")
    assert (settings.load(tmp_path / "c.toml").analysis.bundle / "SHA256SUMS").is_file()


def test_a_bundle_beside_the_file_comes_first(tmp_path):
    (tmp_path / "engines" / "compact-fracatlas").mkdir(parents=True)
    (tmp_path / "c.toml").write_text("")
    assert settings.load(tmp_path / "c.toml").analysis.bundle == tmp_path / "engines" / "compact-fracatlas"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind = 'fax'", "destinations[0]: unknown kind; allowed here: dicom, dicomweb, fhir, hl7"),
        (
            "kind = 'hl7'\nhost = 'h'\nport = 1\nae_title = 'A'",
            "destinations[0].ae_title: unknown key; allowed here: name,",
        ),
        ("kind = 'fhir'", "destinations[0]: Value error, give either url or folder"),
        ("kind = 'fhir'\nurl = 'http://fhir.org'\nbearer_token_file = 't'", "clear text; give an https url"),
        ("kind = 'dicomweb'\nurl = 'https://a:b@c'", "destinations[0].url: String should match pattern"),
        ("kind = 'hl7'\nhost = 'h'\nport = 1\nsending_facility = 'a\\rMSH'", "destinations[0]"),
    ],
)
def test_each_kind_of_destination_has_keys_of_its_own(tmp_path, text, said):
    assert said in problem(tmp_path, f"[[destinations]]\nname = 'a'\n{text.replace(chr(39), chr(34))}\n")


def test_a_destinations_files_belong_to_the_files_folder(tmp_path):
    text = "[[destinations]]\nkind = 'fhir'\nname = 'a'\nfolder = 'out'\n"
    (tmp_path / "c.toml").write_text(text)
    assert getattr(settings.load(tmp_path / "c.toml").destinations[0], "folder", None) == tmp_path / "out"


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.10", "::", "node.example.org"])  # noqa: S104 - that is the case
def test_c11_a_host_that_others_reach_needs_a_list_of_peers(tmp_path, host):
    said = problem(tmp_path, f"[node]\nhost = '{host}'\n")
    assert "[[node.peers]]" in said
    file = tmp_path / "node.toml"
    file.write_text(f"[node]\nhost = '{host}'\n[[node.peers]]\nae_title = 'PACS'\naddresses = ['192.0.2.20']\n")
    assert settings.load(file).node.peers[0].ae_title == "PACS"


def test_a_mistake_in_a_peer_is_named_with_its_line(tmp_path):
    text = "[[node.peers]]\nae_title = 'A'\naddresses = ['10.0.0.0/8']\n[[node.peers]]\nae_title = 'B'\n"
    assert problem(tmp_path, text + "addresses = ['10.0.0.1/8']\n").startswith(":6: node.peers[1].addresses:")
    said = problem(tmp_path, text + "addresses = ['10.0.0.1']\nadress = 1\n")
    assert said.startswith(":7: node.peers[1].adress: unknown key; allowed here: ae_title, addresses,")


def test_certificates_are_looked_for_beside_the_file(tmp_path):
    file = tmp_path / "node.toml"
    file.write_text("[node.tls]\ncertificate = 'node.crt'\nkey = '/keys/node.key'\nca = 'ca.crt'\n")
    tls = settings.load(file).node.tls
    assert (tls.certificate, tls.key) == (tmp_path / "node.crt", Path("/keys/node.key"))


REMOTE = "postgresql://node@db.example/ledger"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://node@localhost/ledger",
        "postgresql://node@[::1]:5433/ledger",
        "postgresql:///ledger?host=/run/postgresql",
        f"{REMOTE}?sslmode=verify-full&sslrootcert=/etc/ssl/ca.pem",
    ],
)
def test_a_ledger_may_be_on_a_server(tmp_path, url):
    (tmp_path / "node.toml").write_text(f'[node]\nledger_url = "{url}"\nledger_password_file = "secret"\n')
    node = settings.load(tmp_path / "node.toml").node
    assert (node.ledger_url, node.ledger_password_file) == (url, tmp_path / "secret")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('ledger_url = "postgresql://node:HUSH@localhost/ledger"', "holds a password"),
        ('ledger_url = "postgresql://node@localhost/ledger?password=HUSH"', "holds a password"),
        ('ledger_url = "mysql://HUSH@localhost/ledger"', "is not of the form"),
        ('ledger_url = "postgresql://HUSH@localhost"', "is not of the form"),
        ('ledger_url = "postgresql://node:HUSH/and@localhost/ledger"', "is not of the form"),
        ('ledger_url = "postgresql://node@[HUSH/ledger"', "is not of the form"),
        (f'ledger_url = "{REMOTE}?application_name=HUSH"', "without TLS"),
        (f'ledger_url = "{REMOTE}?sslmode=require&application_name=HUSH"', "without TLS"),
        ('ledger_url = "postgresql:///ledger?host=db.example&user=HUSH"', "without TLS"),
        ('ledger_url = "postgresql:///ledger?host=/run,db.example&user=HUSH"', "without TLS"),
        ('ledger_url = "postgresql://HUSH@localhost/ledger?hostaddr=10.0.0.1"', "without TLS"),
        ('ledger_password_file = "HUSH"', "without ledger_url"),
    ],
)
def test_a_url_that_tells_too_much_is_refused_and_not_repeated(tmp_path, text, said):
    message = problem(tmp_path, f"[node]\n{text}\n")
    assert said in message
    assert "HUSH" not in message


def test_the_ledgers_password_may_be_a_credential(tmp_path):
    (tmp_path / "node.toml").write_text('[node]\nledger_url = "postgresql://node@localhost/ledger"\n')
    secret = tmp_path / "credentials" / "node.ledger_password_file"
    secret.parent.mkdir()
    secret.write_text("HUSH")
    secret.chmod(0o400)
    assert settings.load(tmp_path / "node.toml").node.ledger_password_file == secret
