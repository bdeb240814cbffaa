"""A power cut may take back a rename that no sync had followed: the start makes it again, for what the ledger knows."""

from __future__ import annotations

import os

import pytest
from sqlalchemy import update

from dicom_node.core.study import Quiet
from dicom_node.intake.accept import Intake, IntakeSettings
from dicom_node.intake.homing import bring_home
from dicom_node.ledger import spool, spool_file
from dicom_node.ledger.database import instance, open_ledger
from dicom_node.ledger.instances import Recorded
from dicom_node.ledger.spool import StateFolders
from tests.unit.intake.test_accept import accept, files, received
from tests.unit.part10.test_header import a_radiograph, encoded


class Store:
    """A state folder with a ledger and a stock of blanks."""

    def __init__(self, root):
        self.folders = StateFolders(root)
        self.folders.create()
        self.ledger = open_ledger(self.folders.ledger)
        settings = IntakeSettings(Quiet(10, 60), "bundle", reserve_bytes=0)
        self.intake = Intake(self.ledger, self.folders, settings, lambda: 100.0, lambda: None)
        self.intake.blanks.fill(4)

    def receive(self, **changes):
        """Receive an instance; returns its file."""
        before = set(files(self.folders))
        accept(self.intake, received(**changes))
        (file,) = set(files(self.folders)) - before
        return file

    def lose_rename(self, file):
        """Leave a file as a power cut does: under the name that was on the disk already."""
        os.link(file, self.folders.incoming / f"lost-{file.stem}")
        file.unlink()

    def start(self):
        """Start anew; returns how many instances went home."""
        moved = bring_home(self.ledger, self.folders)
        assert not list(self.folders.incoming.iterdir())
        return moved


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "state")
    yield store
    store.ledger.close()


def other_bytes():
    changed = a_radiograph()
    changed.SeriesDescription = "sent again, another way"
    return encoded(changed)


def test_an_instance_costs_one_flush_besides_the_ledger(store, monkeypatch):
    synced = []
    fdatasync = os.fdatasync
    monkeypatch.setattr(spool_file.os, "fdatasync", lambda fd: (synced.append("file"), fdatasync(fd))[1])
    monkeypatch.setattr(spool_file, "fsync_folder", lambda folder: synced.append(folder.name))
    store.receive()
    assert synced == ["file"]
    store.intake.blanks.clear()
    file = store.receive(data=other_bytes())
    assert synced == ["file", "file", file.parent.name], "without a blank the folder's sync is not left out"


def test_what_was_acknowledged_and_lost_its_name_goes_home(store):
    replaced = store.receive()
    current = store.receive(data=other_bytes())
    contents = {file: file.read_bytes() for file in (replaced, current)}
    for file in contents:
        store.lose_rename(file)
    assert store.start() == 2
    assert {file: file.read_bytes() for file in files(store.folders)} == contents
    assert accept(store.intake, received(data=other_bytes())) is Recorded.DUPLICATE


def test_what_was_purged_or_never_recorded_or_is_torn_goes(store):
    purged = store.receive()
    store.lose_rename(purged)
    with store.ledger.transaction() as connection:
        connection.execute(update(instance).values(storage="purged"))
    torn = store.receive(data=other_bytes())
    (store.folders.incoming / "torn").write_bytes(torn.read_bytes()[:-2])
    arriving = store.intake.open(received(sop_instance_uid="1.2.3.9"))
    arriving.write([memoryview(received().dataset)])
    assert store.start() == 0
    assert files(store.folders) == [torn]


def test_a_full_disk_leaves_the_stock_as_it_is(store, monkeypatch):
    def full(*_arguments):
        raise OSError(28, "No space left on device")

    store.intake.blanks.clear()
    with monkeypatch.context() as patch:
        patch.setattr(spool.os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            store.intake.blanks.fill(4)
    assert not list(store.folders.incoming.iterdir()), "a name that is not on the disk is none"
    assert store.receive().exists()
