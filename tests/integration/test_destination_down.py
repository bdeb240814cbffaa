from __future__ import annotations

import pytest
from fhir.resources.R4B.bundle import Bundle

from tests.support.orthanc import Forward
from tests.support.ris import Ris
from tests.support.sender import RawSender
from tests.support.stub_pacs import Listener
from tests.support.system import System, result_problems
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(300)


@pytest.mark.usefixtures("orthanc_installed")
def test_results_wait_for_a_destination_that_is_down_and_others_have_them_meanwhile(tmp_path, bundle, factory):
    system, ris, copies = System(tmp_path, bundle, Forward.NONE), Ris(), tmp_path / "copies"
    copies.mkdir()
    with Listener(ris) as listener:
        system.node.settings["destinations"] += [
            {"kind": "fhir", "name": "copies", "folder": str(copies)},
            {"kind": "hl7", "name": "ris", "host": "127.0.0.1", "port": listener.port},
        ]
        with system:
            outage(system, factory, lambda: list(copies.glob("*.json")) and ris.messages)
    assert {Bundle.model_validate_json(path.read_bytes()).type for path in copies.iterdir()} == {"collection"}
    assert [str(message.segment("OBR")[25]) for message in ris.messages] == ["P", "P"]
    assert len(list(copies.iterdir())) == 2
    names = {str(message.segment("PID")[5][0][0]) for message in ris.messages}
    assert not any(name in system.node.log.read_text() for name in names)


def outage(system, factory, copied):
    system.pacs.stop()
    sender = RawSender(system.node.port)
    first, second = factory.study(views=1), factory.study(views=1)
    assert all(answer.stored for answer in sender.send_all(first.files))
    uid = first.study_instance_uid

    def has_failed() -> bool:
        deliveries = system.node.study(uid)["deliveries"] if uid in system.node.studies() else []
        return any(delivery["attempts"] >= 2 and delivery["last_error"] for delivery in deliveries)

    until(has_failed, 60, "the delivery failed twice", every_s=0.3)
    until(copied, 60, "the other destinations have it")
    # Reception does not care where results go.
    assert all(answer.stored for answer in sender.send_all(second.files))

    system.pacs.start()
    for study in (first, second):
        system.wait_result(study)
        assert result_problems(system, study) == []
