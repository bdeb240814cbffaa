from __future__ import annotations

import os
import stat

import pytest

from dicom_node.ledger import spool_file
from dicom_node.ledger.spool_file import SpoolFile

HEAD = b"head"


@pytest.mark.parametrize("size", [1, 1 << 20, (3 << 20) + 5])
def test_what_is_written_in_pieces_is_there_whole_under_its_name(tmp_path, size):
    data = os.urandom(size)
    view = memoryview(data)
    file = SpoolFile(tmp_path / "temporary", HEAD)
    for start in range(0, size, 700_001):
        file.write([view[start : start + 350_000], view[start + 350_000 : start + 700_001]])
    assert file.size == size
    assert file.content() == data
    file.publish(tmp_path / "aa" / "name")
    assert (tmp_path / "aa" / "name").read_bytes() == HEAD + data
    assert not (tmp_path / "temporary").exists()
    assert stat.S_IMODE((tmp_path / "aa" / "name").stat().st_mode) & 0o137 == 0  # C21: not executable, not for others
    file.discard()
    assert (tmp_path / "aa" / "name").exists()


def test_a_write_that_comes_short_is_finished(tmp_path, monkeypatch):
    writev = os.writev
    monkeypatch.setattr(spool_file.os, "writev", lambda fd, pieces: writev(fd, [b"".join(pieces)[:3]]))
    file = SpoolFile(tmp_path / "temporary", HEAD)
    file.write([memoryview(b"abc"), memoryview(b"defgh")])
    assert (tmp_path / "temporary").read_bytes() == b"headabcdefgh"


def test_what_is_discarded_is_gone(tmp_path):
    file = SpoolFile(tmp_path / "temporary", HEAD)
    file.write([memoryview(b"abc")])
    file.discard()
    assert list(tmp_path.iterdir()) == []
