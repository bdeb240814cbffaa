from __future__ import annotations

import pytest

from tests.support.orthanc import Forward
from tests.support.sender import RawSender
from tests.support.system import System, result_problems
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(120)


@pytest.mark.usefixtures("orthanc_installed")
def test_results_wait_for_a_destination_that_is_down(tmp_path, bundle, factory):
    with System(tmp_path, bundle, Forward.NONE) as system:
        system.pacs.stop()
        sender = RawSender(system.node.port)
        first, second = factory.study(views=1), factory.study(views=1)
        assert all(answer.stored for answer in sender.send_all(first.files))
        uid = first.study_instance_uid

        def has_failed() -> bool:
            deliveries = system.node.study(uid)["deliveries"] if uid in system.node.studies() else []
            return any(delivery["attempts"] >= 2 and delivery["last_error"] for delivery in deliveries)

        until(has_failed, 40, "the delivery failed twice", every_s=0.3)
        # Reception does not care where results go.
        assert all(answer.stored for answer in sender.send_all(second.files))

        system.pacs.start()
        for study in (first, second):
            system.wait_result(study)
            assert result_problems(system, study) == []
