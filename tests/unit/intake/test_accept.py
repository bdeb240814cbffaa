"""Accepting: durable before success, a clear status otherwise, and nothing half-kept."""

from __future__ import annotations

import threading

import pytest

from dicom_node.core.errors import Rejected
from dicom_node.core.study import Quiet, Received
from dicom_node.intake import accept as module
from dicom_node.intake.accept import Intake, IntakeSettings
from dicom_node.ledger import spool_file
from dicom_node.ledger.database import open_ledger
from dicom_node.ledger.instances import Recorded
from dicom_node.ledger.overview import Overview
from dicom_node.ledger.spool import StateFolders
from tests.unit.part10.test_header import EXPLICIT_LITTLE, a_radiograph, encoded

CR = "1.2.840.10008.5.1.4.1.1.1"


@pytest.fixture
def folders(tmp_path):
    folders = StateFolders(tmp_path / "state")
    folders.create()
    return folders


@pytest.fixture
def rings():
    return []


@pytest.fixture
def intake(folders, rings):
    ledger = open_ledger(folders.ledger)
    settings = IntakeSettings(Quiet(10, 60), "bundle", reserve_bytes=0)
    yield Intake(ledger, folders, settings, clock=lambda: 100.0, on_recorded=lambda: rings.append(1))
    ledger.close()


def received(data=None, **changes):
    values = {
        "sop_class_uid": CR,
        "sop_instance_uid": "1.2.3.4",
        "transfer_syntax_uid": EXPLICIT_LITTLE,
        "calling_ae": "PACS",
        "peer": "127.0.0.1",
        "dataset": encoded(a_radiograph()) if data is None else data,
    }
    return Received(**{**values, **changes})


def accept(intake, instance):
    """Hand an instance over as the network does: in pieces, of which some are split inside an element's header."""
    arriving = intake.open(instance)
    data = memoryview(instance.dataset)
    try:
        arriving.write([data[:5], data[5:131]])
        arriving.write([data[131:]])
        return arriving.finish()
    except Rejected:
        arriving.abort()
        raise


def files(folders):
    return [path for path in folders.instances.rglob("*") if path.is_file()]


def test_a_radiograph_is_kept_as_it_came_and_work_is_announced(intake, folders, rings):
    arrived = received()
    assert accept(intake, arrived) is Recorded.NEW
    (file,) = files(folders)
    content = file.read_bytes()
    assert content.endswith(arrived.dataset)
    assert content[:132] == bytes(128) + b"DICM"
    assert "1.2.3.4" not in file.name
    assert rings == [1]
    (row,) = Overview(folders.ledger).instances()
    assert (row["role"], row["sop_instance_uid"]) == ("view", "1.2.3.4")


def test_c19_the_same_bytes_again_are_acknowledged_and_kept_once(intake, folders, rings):
    accept(intake, received())
    assert accept(intake, received()) is Recorded.DUPLICATE
    assert len(files(folders)) == 1
    assert rings == [1]


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"sop_instance_uid": "../../../../etc/passwd"}, 0xC000),
        ({"sop_instance_uid": "1.2.3\n4"}, 0xC000),
        ({"sop_instance_uid": "1" * 65}, 0xC000),
        ({"sop_instance_uid": ""}, 0xC000),
        ({"sop_instance_uid": "1.2.3.5"}, 0xA900),
        ({"sop_class_uid": "1.2.840.10008.5.1.4.1.1.2"}, 0xA900),
        ({"data": b"not a data set"}, 0xC000),
        ({"data": b""}, 0xA900),
    ],
)
def test_c17_c18_c22_what_cannot_be_kept_gets_its_status_and_a_line_of_history(intake, folders, changes, status):
    with pytest.raises(Rejected) as rejection:
        accept(intake, received(**changes))
    assert rejection.value.status == status
    assert files(folders) == []
    (refusal,) = Overview(folders.ledger).refusals()
    assert refusal["detail"].startswith(f"0x{status:04X}")
    assert "\n" not in refusal["sop_instance_uid"]
    assert ".." not in refusal["sop_instance_uid"]


def test_c33_a_data_set_without_a_study_is_refused(intake):
    ds = a_radiograph()
    del ds.StudyInstanceUID
    with pytest.raises(Rejected) as rejection:
        accept(intake, received(encoded(ds)))
    assert rejection.value.status == 0xC000


def test_c39_below_the_reserve_the_peer_keeps_the_instance(intake, folders, monkeypatch):
    monkeypatch.setattr(module, "free_bytes", lambda _folder: -1)
    with pytest.raises(Rejected) as rejection:
        accept(intake, received())
    assert rejection.value.status == 0xA700
    assert files(folders) == []
    monkeypatch.undo()
    assert accept(intake, received()) is Recorded.NEW


@pytest.mark.parametrize("call", ["open", "writev", "fdatasync"])
def test_c39_c40_a_failing_disk_is_answered_out_of_resources_with_nothing_left(intake, folders, monkeypatch, call):
    def broken(*_arguments, **_more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(spool_file.os, call, broken)
    with pytest.raises(Rejected) as rejection:
        accept(intake, received())
    monkeypatch.undo()
    assert rejection.value.status == 0xA700
    assert Overview(folders.ledger).instances() == []
    assert list(folders.incoming.iterdir()) == []
    assert files(folders) == []
    assert accept(intake, received()) is Recorded.NEW


def test_what_is_broken_off_leaves_no_file(intake, folders):
    arriving = intake.open(received())
    arriving.write([memoryview(received().dataset)])
    arriving.abort()
    assert list(folders.incoming.iterdir()) == []
    assert files(folders) == []


def test_four_associations_at_once_lose_and_double_nothing(intake, folders):
    def send(thread):
        for number in range(10):
            ds = a_radiograph()
            ds.SOPInstanceUID = f"1.2.3.{number}" if number < 5 else f"1.2.3.{thread}.{number}"
            outcomes.append(accept(intake, received(encoded(ds), sop_instance_uid=ds.SOPInstanceUID)))

    outcomes: list[Recorded] = []
    threads = [threading.Thread(target=send, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count(Recorded.NEW) == 25
    assert outcomes.count(Recorded.DUPLICATE) == 15
    rows = Overview(folders.ledger).instances()
    assert len(rows) == len(files(folders)) == 25


def test_other_modalities_are_kept_with_their_reason(intake, folders, rings):
    ds = a_radiograph()
    ds.SOPClassUID, ds.Modality = "1.2.840.10008.5.1.4.1.1.4", "MR"
    accept(intake, received(encoded(ds), sop_class_uid=ds.SOPClassUID))
    (row,) = Overview(folders.ledger).instances()
    assert (row["role"], row["reason_text"]) == ("kept", "not analysed: modality MR")
    assert rings == []


def test_c34_our_own_results_are_recognised_by_uid_root_and_manufacturer(intake, folders):
    ds = a_radiograph()
    ds.SOPInstanceUID, ds.Manufacturer = "2.25.12345", "dicom-node project"
    accept(intake, received(encoded(ds), sop_instance_uid="2.25.12345"))
    (row,) = Overview(folders.ledger).instances()
    assert row["role"] == "own-result"
