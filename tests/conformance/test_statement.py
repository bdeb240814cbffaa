"""The conformance statement is what the code says, and what the running SCP does."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from pydicom._uid_dict import UID_dictionary
from pynetdicom import AE

from dicom_node.cli.conformance import network
from dicom_node.cli.conformance.document import statement
from dicom_node.cli.main import main
from dicom_node.dimse.scp import ScpSettings, StorageScp
from dicom_node.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[2]
COMMITTED = (REPOSITORY / "docs" / "conformance-statement.md").read_text(encoding="utf-8")
SOURCES = sorted((REPOSITORY / "dicom_node").rglob("*.py"))

J2K, IMPLICIT = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2"
PRIVATE = ("1.2.840.113619.4.26", "2.25.1234567")
_A_TIME = 120  # of 128 contexts that one association can propose


def listed(title: str) -> list[list[str]]:
    """Return the cells of the table in a section of the committed statement."""
    section = COMMITTED.split(f"\n## {title}\n")[1].split("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("|")]
    return rows[2:]


def test_the_committed_statement_is_what_the_code_makes():
    assert statement(Settings()) == COMMITTED, "run: dicom-node conformance --output docs/conformance-statement.md"


def test_a_site_gets_its_own(tmp_path, capsys):
    config = tmp_path / "site.toml"
    config.write_text('[node]\nae_title = "SITE_AE"\n[results]\nseries_number = 4711\n')
    assert main(["conformance", "--config", str(config)]) == 0
    made = capsys.readouterr().out
    assert '| `ae_title` | `"SITE_AE"` |' in made
    assert "| Series Number | (0020,0011) | IS | 4711 |" in made


def test_every_status_that_the_code_can_answer_is_listed():
    """Statuses are only ever named by their constants, and each constant is in the table."""
    named, literal = set(), []
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "status":
                named.add(node.attr)
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Rejected" and len(node.args) > 1:
                code = node.args[1]
                literal += [f"{path.name}:{node.lineno}"] if isinstance(code, ast.Constant) else []
    assert literal == []
    answered = {name for name in named if name.isupper()} - network.ONLY_HEARD
    assert {"SUCCESS", "OUT_OF_RESOURCES", "MISMATCH", "CANNOT_UNDERSTAND"} <= answered <= set(network.statuses())
    values = {f"0x{value:04X}" for value in network.statuses().values()}
    assert {row[0] for row in listed("5 Statuses answered")} == values


@pytest.fixture(scope="module")
def negotiated():
    """What the running SCP accepts of everything that the standard registers and of private classes."""
    scp = StorageScp(ScpSettings(ae_title="NODE", host="127.0.0.1", port=0), lambda _anything: None, lambda _report: 0)
    scp.start()
    proposed = [uid for uid in UID_dictionary if UID_dictionary[uid][1].endswith("Class")] + list(PRIVATE)
    accepted, makers = {}, set()
    try:
        for begin in range(0, len(proposed), _A_TIME):
            ae = AE("ANYBODY")
            for uid in proposed[begin : begin + _A_TIME]:
                ae.add_requested_context(uid, [IMPLICIT, J2K] if uid == "1.2.840.10008.1.1" else [J2K, IMPLICIT])
            association = ae.associate("127.0.0.1", scp.port, ae_title="NODE")
            for context in association.accepted_contexts:
                accepted[str(context.abstract_syntax)] = str(context.transfer_syntax[0])
            makers.add(str(association.acceptor.implementation_class_uid))
            association.release()
    finally:
        scp.stop()
    return accepted, makers


def test_every_context_that_is_listed_is_accepted_and_no_other(negotiated):
    accepted, makers = negotiated
    promised = {row[1] for row in listed("4 Contexts accepted as an SCP")}
    (private,) = [row for row in promised if not row[0].isdigit()]
    assert "outside 1.2.840.10008" in private
    assert set(accepted) == (promised - {private}) | set(PRIVATE)
    assert all(f"Implementation Class UID `{uid}`" in COMMITTED for uid in makers)


def test_what_is_accepted_for_storage_is_accepted_in_the_first_transfer_syntax(negotiated):
    accepted, _ = negotiated
    accepted = dict(accepted)
    read_here = [accepted.pop(uid) for uid in ("1.2.840.10008.1.1", "1.2.840.10008.1.20.1")]
    assert read_here == [IMPLICIT, IMPLICIT]
    assert len(accepted) > 150
    assert set(accepted.values()) == {J2K}


def test_the_links_of_the_contents_lead_to_headings():
    headings = set(re.findall(r"^## (.*)$", COMMITTED, flags=re.MULTILINE))
    contents = re.findall(r"^- \[(.*)\]\(#(.*)\)$", COMMITTED, flags=re.MULTILINE)
    assert {title for title, _ in contents} == headings
