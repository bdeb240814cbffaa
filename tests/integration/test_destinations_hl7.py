"""ORU^R01 over MLLP: the courier and the ledger against a listener that reads with a library of its own."""

from __future__ import annotations

import contextlib

import pytest

from tests.support import brief
from tests.support.published import Outgoing
from tests.support.ris import Ris
from tests.support.stub_pacs import Listener
from tests.support.waiting import free_port

pytestmark = pytest.mark.timeout(180)

SHORT = {"timeout_s": 0.5}  # for who is to be given up


@pytest.fixture
def outgoing(tmp_path):
    with contextlib.ExitStack() as stack:
        yield lambda *destinations, **more: stack.enter_context(Outgoing(tmp_path / "state", *destinations, **more))


def destination(port, **more):
    return {"kind": "hl7", "name": "ris", "host": "127.0.0.1", "port": port} | more


def test_results_go_one_after_the_other_over_one_connection_and_are_acknowledged(outgoing):
    ris = Ris(slow=True)
    with Listener(ris) as listener:
        node = outgoing(destination(listener.port))
        node.publish("1.2.3", write=brief.writer())
        node.publish("1.2.4", write=brief.writer())
        node.courier("ris").step()
        assert [node.delivery(study, "ris")["state"] for study in ("1.2.3", "1.2.4")] == ["done", "done"]
        assert listener.connections == 1
        assert [str(list(message.segments("OBX"))[5][5]) for message in ris.messages] == ["1.2.3", "1.2.4"]
        assert str(ris.messages[0].segment("PID")[5][1][0]) == "山田"
        assert node.delivery("1.2.3", "ris")["slots"][0]["note"] == "acknowledged with AA"


@pytest.mark.parametrize(
    ("code", "state", "said"),
    [
        ("AR", "dead", "acknowledged with AR: look at its log"),
        ("AE", "ready", "could not take the message now"),
        ("silence", "ready", "broke the connection|gave no acknowledgement"),
        ("noise", "ready", "answered with no acknowledgement"),
        ("Müller^Eva", "dead", "acknowledged with an unknown code"),
    ],
)
def test_each_acknowledgement_has_its_consequence(outgoing, code, state, said):
    with Listener(Ris(code)) as listener:
        node = outgoing(destination(listener.port, **(SHORT if code == "silence" else {})))
        node.publish("1.2.3", write=brief.writer())
        node.courier("ris").step()
        delivery = node.delivery("1.2.3", "ris")
        assert delivery["state"] == state
        assert any(part in delivery["last_error"] for part in said.split("|"))
        assert "Müller" not in str(delivery)


def test_after_an_error_the_same_message_comes_again_under_the_same_control_id(outgoing):
    ris = Ris("AE", "silence")
    with Listener(ris) as listener:
        node = outgoing(destination(listener.port, timeout_s=3.0))
        node.publish("1.2.3", write=brief.writer())
        node.run()
        node.until_done("1.2.3", "ris")
        assert len({str(message) for message in ris.messages}) == 1
        assert len(ris.messages) == 3


def test_nobody_listening_is_tried_again(outgoing):
    node = outgoing(destination(free_port()))
    node.publish("1.2.3", write=brief.writer())
    node.courier("ris").step()
    assert "cannot be reached" in node.delivery("1.2.3", "ris")["last_error"]
