"""Room on the disk: two watermarks, a reserve for the ledger, and a device that failed is not believed."""

from __future__ import annotations

import errno
import os

import pytest

from dicom_node.core.errors import LedgerUnavailable
from dicom_node.ledger import space as module
from dicom_node.ledger.space import Space, Watermarks
from dicom_node.ledger.spool import StateFolders

MIB = 1 << 20


@pytest.fixture
def folders(tmp_path):
    folders = StateFolders(tmp_path / "state")
    folders.create()
    return folders


@pytest.fixture
def disk(monkeypatch):
    """Return a dictionary whose `free` is what the disk says it has left."""
    disk = {"free": 1000 * MIB}
    monkeypatch.setattr(module, "free_bytes", lambda _folder: disk["free"])
    return disk


def test_c39_the_soft_watermark_keeps_associations_out_and_lets_them_in_again(folders, disk):
    space = Space(folders, Watermarks(hard=100 * MIB, soft=200 * MIB, reserve=MIB))
    assert space.accepting()
    disk["free"] = 199 * MIB
    assert not space.accepting()
    assert "199 MiB" in space.problem
    disk["free"] = 200 * MIB
    assert space.accepting()


def test_c39_the_ledger_gets_its_reserve_when_the_disk_is_full_and_it_is_made_again(folders, disk):
    space = Space(folders, Watermarks(hard=10 * MIB, soft=0, reserve=2 * MIB))
    assert space.tend() == "reserved"
    assert folders.reserve.stat().st_blocks * 512 >= 2 * MIB, "the room is held, not only promised"
    disk["free"] = MIB
    assert space.tend() == "released"
    assert not folders.reserve.exists()
    assert space.tend() == ""
    disk["free"] = 50 * MIB
    assert space.tend() == "reserved"


def test_c40_a_device_that_failed_is_believed_again_when_a_new_file_was_synced(folders, disk, monkeypatch):
    assert disk["free"]
    space = Space(folders, Watermarks(hard=0, soft=0, reserve=0))
    assert not space.note_failure(OSError(errno.ENOSPC, "full")), "a full disk is not a broken one"
    assert space.note_failure(OSError(errno.EIO, "broken"))
    assert not space.accepting()
    assert space.has_failed()
    synced = []

    def broken(descriptor):
        synced.append(descriptor)
        raise OSError(errno.EIO, "broken")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", broken)
        assert space.tend() == ""
        assert len(synced) == 1, "no sync is tried twice on the same file"
    assert space.has_failed()
    assert space.tend() == "recovered"
    assert space.accepting()
    assert not list(folders.incoming.iterdir())


def test_c40_a_ledger_that_met_an_error_of_the_device_counts_too(folders):
    space = Space(folders, Watermarks(hard=0, soft=0, reserve=0))
    locked, broken = LedgerUnavailable("x"), LedgerUnavailable("x")
    locked.__cause__, broken.__cause__ = RuntimeError("database is locked"), RuntimeError("disk I/O error")
    assert not space.note_failure(locked)
    assert space.note_failure(broken)


def test_c40_a_file_system_that_does_not_answer_is_a_storage_that_failed(folders, monkeypatch):
    space = Space(folders, Watermarks(0, 0, 0))

    def stale(_folder):
        raise OSError(errno.ESTALE, "Stale file handle")

    with monkeypatch.context() as patch:
        patch.setattr(module, "free_bytes", stale)
        assert space.problem == "storage failed (Stale file handle)"
        assert not space.accepting()
        assert space.tend() == ""
        assert space.has_failed()
    assert space.tend() == "recovered"
    assert space.accepting()
