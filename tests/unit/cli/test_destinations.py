"""`dicom-node destinations` and what `dicom-node studies` says of deliveries."""

from __future__ import annotations

import json

import pytest

from dicom_node.cli.deliveries import sent, takes
from dicom_node.cli.main import main
from tests.support.parcels import EXPLICIT, JPEG_LS, PR, SC, SR
from tests.support.published import Outgoing
from tests.support.stub_pacs import StubPacs
from tests.support.waiting import free_port

TAKEN = ((SC, EXPLICIT), (SR + "33", EXPLICIT))


@pytest.fixture
def node(tmp_path, monkeypatch):
    """A node's state with one destination that took a result and one that is down."""
    monkeypatch.setattr("pynetdicom._config.UNRESTRICTED_STORAGE_SERVICE", False)
    with StubPacs(*TAKEN) as stub:
        blocks = [stub.destination("pacs"), stub.destination("gone", port=free_port(), timeout_s=1.0)]
        blocks.append({"kind": "fhir", "name": "copies", "folder": str(tmp_path)})
        lines = [f"[node]\nstate_dir = {json.dumps(str(tmp_path / 'state'))}\n"]
        lines += [
            "[[destinations]]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in block.items()) for block in blocks
        ]
        (tmp_path / "node.toml").write_text("".join(lines))
        with Outgoing(tmp_path / "state", *blocks) as outgoing:
            outgoing.publish("1.2.3")
            for name in ("pacs", "gone"):
                outgoing.courier(name).step()
            yield str(tmp_path / "node.toml")


def test_destinations_are_listed_with_their_queue_and_what_they_accepted(node, capsys):
    assert main(["destinations", "--config", node, "--json"]) == 0
    pacs, gone, copies = json.loads(capsys.readouterr().out)
    assert (pacs["state"], pacs["waiting"], pacs["done"]) == ("up", 0, 1)
    assert [tuple(context) for context in pacs["accepted"]] == sorted(TAKEN)
    assert (gone["state"], gone["waiting"]) == ("down", 1)
    assert "cannot be reached" in gone["last_error"]
    assert (copies["state"], copies["waiting"]) == ("not tried yet", 1)
    assert main(["destinations", "--config", node]) == 0
    printed = capsys.readouterr().out
    assert (
        "    1 delivered, 0 waiting\n    1 to be asked to commit\n    report: comprehensive; pages: uncompressed"
        in printed
    )
    assert "gone: down; STUB at 127.0.0.1:" in printed


def test_testing_says_what_each_would_take_and_fails_where_one_is_down(node, capsys):
    assert main(["destinations", "test", "--config", node]) == 1
    pacs, gone, copies = capsys.readouterr().out.splitlines()
    assert pacs.startswith("pacs: answers C-ECHO (")
    assert pacs.endswith("report: comprehensive; pages: uncompressed; presentation states: no")
    assert "cannot be reached" in gone
    assert copies.startswith("copies: can be written")
    assert main(["destinations", "test", "pacs", "--config", node]) == 0
    assert main(["destinations", "test", "nobody", "--config", node]) == 1
    assert "no destination 'nobody'" in capsys.readouterr().err


def test_a_studys_deliveries_say_what_each_destination_has(node, capsys):
    assert main(["studies", "1.2.3", "--config", node, "--json"]) == 0
    deliveries = json.loads(capsys.readouterr().out)["deliveries"]
    assert (
        sent(deliveries[0]["slots"]) == "page uncompressed; report comprehensive; no presentation states (not accepted)"
    )
    assert deliveries[1]["slots"] == []


def test_words_for_what_was_sent_and_what_is_taken():
    page = {"slot": "sc-1", "sop_class_uid": SC, "transfer_syntax_uid": JPEG_LS, "note": ""}
    state = {"slot": "pr-1", "sop_class_uid": PR, "transfer_syntax_uid": EXPLICIT, "note": ""}
    nothing = {"slot": "sr", "sop_class_uid": None, "transfer_syntax_uid": None, "note": "not accepted"}
    assert sent([page, page, state, nothing]) == "2 x page compressed; presentation state; no report (not accepted)"
    assert sent([{"slot": "hl7", "sop_class_uid": None, "note": "acknowledged with AA"}]) == "acknowledged with AA"
    coerced = [page | {"status": 0xB000}, page | {"status": 0}]
    assert sent(coerced) == "page compressed (answered 0xB000); page compressed"
    assert takes([]) == ""
    assert takes([(SC, JPEG_LS), (SC, EXPLICIT), (PR, EXPLICIT)]) == (
        "report: none; pages: compressed or uncompressed; presentation states: yes"
    )
