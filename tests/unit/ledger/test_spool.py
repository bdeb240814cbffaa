"""Writing durably: whole or not at all."""

from __future__ import annotations

import pytest

from dicom_node.ledger import spool
from dicom_node.ledger.spool import StateFolders, folder_digest, publish_folder, write_durably


def test_a_file_appears_whole(tmp_path):
    write_durably(tmp_path / "ab" / "file", tmp_path / "tmp", (b"one", b"two"))
    assert (tmp_path / "ab" / "file").read_bytes() == b"onetwo"
    assert not (tmp_path / "tmp").exists()


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_c39_c40_a_failing_disk_leaves_nothing_behind(tmp_path, monkeypatch, failing):
    def broken(*_arguments):
        raise OSError(5, "Input/output error")

    if failing == "fsync":
        monkeypatch.setattr(spool.os, "fsync", broken)
        (tmp_path / "ab").mkdir()
    else:
        monkeypatch.setattr(type(tmp_path), "replace", broken)
    with pytest.raises(OSError, match="Input/output"):
        write_durably(tmp_path / "ab" / "file", tmp_path / "tmp", (b"one",))
    assert not (tmp_path / "ab" / "file").exists()
    assert not (tmp_path / "tmp").exists()


def test_a_published_folder_replaces_an_orphan_and_keeps_its_digest(tmp_path):
    source, target = tmp_path / "work", tmp_path / "results" / "1"
    source.mkdir()
    (source / "a").write_bytes(b"new")
    target.mkdir(parents=True)
    (target / "orphan").write_bytes(b"old")
    digest = folder_digest(source)
    publish_folder(source, target)
    assert folder_digest(target) == digest
    assert [file.name for file in target.iterdir()] == ["a"]
    (target / "a").write_bytes(b"nEw")
    assert folder_digest(target) != digest


def test_leftovers_are_cleared_and_instances_are_not(tmp_path):
    folders = StateFolders(tmp_path / "state")
    folders.create()
    (folders.work / "1-1").mkdir()
    (folders.instances / "kept.dcm").write_bytes(b"whole")
    folders.clear_leftovers()
    assert not list(folders.work.iterdir())
    assert (folders.instances / "kept.dcm").exists()
    assert folders.root.stat().st_mode & 0o077 == 0
