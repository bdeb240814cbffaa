"""A canary in the patient's data must not turn up where operators and backups of logs look."""

from __future__ import annotations

import pytest

from tests.support.node import names_below
from tests.support.sender import RawSender

pytestmark = pytest.mark.timeout(180)

NAME, IDENTIFIER = "Canarybird^Zebulon", "CANARY-4711"


def test_no_patient_data_in_logs_or_file_names(system, factory):
    study = factory.study(views=2, patient=("", NAME), patient_id=IDENTIFIER)
    system.upload(study)
    system.wait_result(study)
    broken = study.files[0].read_bytes()[:-1000]
    cut = study.files[0].with_name("cut.dcm")
    cut.write_bytes(broken)
    RawSender(system.node.port).send(cut)  # a refusal is logged too

    log = system.node.log.read_text(errors="replace").lower()
    names = " ".join(names_below(system.node.state_dir)).lower()
    for word in ("canarybird", "zebulon", "canary-4711", "canary"):
        assert word not in log
        assert word not in names
    assert study.study_instance_uid in log
