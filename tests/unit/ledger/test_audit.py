"""The audit trail: whatever is done to it shows, and whatever is undone leaves no trace in it."""

from __future__ import annotations

import shutil
from dataclasses import fields, replace
from itertools import pairwise

import pytest

from dicom_node.core.errors import LedgerUnavailable
from dicom_node.core.study import Quiet
from dicom_node.ledger import audit, instances
from dicom_node.ledger.audit import Head, Record, verify
from dicom_node.ledger.database import open_ledger
from dicom_node.ledger.overview import Overview
from tests.unit.ledger.arrivals import an_arrival

WRITTEN = [field.name for field in fields(Record)]


@pytest.fixture
def path(place):
    """Return a ledger whose trail has 24 records."""
    return filled(place)


@pytest.fixture
def file(tmp_path):
    """Return such a ledger in a file."""
    return filled(tmp_path / "ledger.sqlite")


def filled(path):
    ledger = open_ledger(path)
    with ledger.transaction() as connection:
        for number in range(24):
            instances.record(connection, an_arrival(f"1.2.3.{number}"), Quiet(1, 2), "bundle", 100.0 + number)
    ledger.close()
    return path


def trail(path):
    return list(Overview(path).trail())


def test_a_sound_trail_is_found_sound_and_says_what_was_received(path):
    records = trail(path)
    verdict = verify(records)
    assert (verdict.problem, verdict.records) == (None, 24)
    assert verdict.head == Head(24, records[-1].hash)
    assert records[0].details()["sha256"] == an_arrival("1.2.3.0").sha256
    assert verify(records, [Head(24, records[-1].hash), Head(3, records[2].hash)]).problem is None


def test_c53_every_changed_byte_of_every_record_is_found_and_the_record_named(path):
    records = trail(path)
    tried = 0
    for index, record in enumerate(records):
        for name in WRITTEN:
            for changed in _flips(getattr(record, name)):
                bad = [*records[:index], replace(record, **{name: changed}), *records[index + 1 :]]
                verdict = verify(bad)
                assert verdict.problem is not None, (record.seq, name, changed)
                assert verdict.records == index
                tried += 1
    assert tried > 5000


def _flips(value):
    if isinstance(value, str):
        for place, letter in enumerate(value):
            yield value[:place] + chr(ord(letter) ^ 1) + value[place + 1 :]
    else:
        yield value + 1


def test_c53_what_is_flipped_in_the_file_itself_is_found(file, tmp_path):
    content = file.read_bytes()
    copy = tmp_path / "flipped.sqlite"
    for record in trail(file)[::6]:
        start = content.index((record.previous + "").encode(), content.index(record.hash.encode()) - 800)
        end = content.index(record.hash.encode()) + 64
        for place in range(start, end, 29):
            bad = bytearray(content)
            bad[place] ^= 0x81  # the high bit makes text that is no UTF-8 as well
            copy.write_bytes(bad)
            assert verify(Overview(copy).trail()).problem is not None, place


def test_c53_every_deletion_swap_and_cut_is_found(path):
    records = trail(path)
    head = Head(records[-1].seq, records[-1].hash)
    for index in range(len(records)):
        rest = [*records[:index], *records[index + 1 :]]
        assert verify(rest, [head]).problem is not None
        assert verify(records[:index], [head]).problem is not None
    for index, _ in enumerate(pairwise(records)):
        swapped = [*records[:index], records[index + 1], records[index], *records[index + 2 :]]
        assert verify(swapped).problem is not None
        numbered = [replace(r, seq=n) for n, r in enumerate(swapped, start=1)]
        assert verify(numbered).problem is not None


def test_c53_a_record_that_was_changed_and_sealed_anew_no_longer_bears_the_next(path):
    records = trail(path)
    for index, record in enumerate(records[:-1]):
        forged = replace(record, detail="never happened")
        values = (forged.seq, forged.previous, forged.at, forged.event, forged.study_instance_uid)
        seal = audit._seal((*values, forged.sop_instance_uid, forged.detail, forged.facts))
        verdict = verify([*records[:index], replace(forged, hash=seal), *records[index + 1 :]])
        assert verdict.problem == f"record {record.seq + 1}: does not follow the record before it"


def test_c53_an_older_copy_is_found_by_a_head_that_was_noted_later(file, tmp_path):
    shutil.copy(file, tmp_path / "older.sqlite")
    ledger = open_ledger(file)
    with ledger.transaction() as connection:
        head = audit.note(connection, 200.0, "node.stopped")
    ledger.close()
    verdict = verify(trail(tmp_path / "older.sqlite"), [head])
    assert verdict.problem is not None
    assert "older copy" in verdict.problem
    assert verify(trail(file), [head]).problem is None


def test_c53_a_trail_that_was_written_anew_is_found_by_a_noted_head(path):
    noted = Head(5, trail(path)[4].hash)
    ledger = open_ledger(path)
    with ledger.transaction() as connection:
        connection.exec_driver_sql("DELETE FROM audit")
    ledger.close()
    ledger = open_ledger(path)
    with ledger.transaction() as connection:
        for number in range(9):
            audit.note(connection, 100.0 + number, "instance.stored")
    ledger.close()
    assert verify(trail(path)).problem is None, "a whole new chain is sound in itself"
    assert "written anew" in str(verify(trail(path), [noted]).problem)


def test_what_is_rolled_back_leaves_no_record_and_no_gap(empty):
    ledger = empty

    def fail() -> None:
        with ledger.transaction() as connection:
            audit.note(connection, 1.0, "instance.stored")
            connection.exec_driver_sql("no such statement")

    with ledger.transaction() as connection:
        audit.note(connection, 1.0, "instance.stored")
    with pytest.raises(LedgerUnavailable):
        fail()
    with ledger.transaction() as connection:
        audit.note(connection, 2.0, "instance.stored")
        inner = connection.begin_nested()
        audit.note(connection, 3.0, "instance.stored")
        inner.rollback()
        audit.note(connection, 4.0, "instance.stored")
        records = audit.after(connection, 0, 10)
    assert [record.at for record in records] == [1.0, 2.0, 4.0]
    assert verify(records).problem is None


def test_a_patient_is_the_same_pseudonym_within_a_node_and_another_one_elsewhere(tmp_path):
    found = []
    for name in ("a", "b"):
        for _ in range(2):
            ledger = open_ledger(tmp_path / name / "ledger.sqlite")
            with ledger.transaction() as connection:
                found.append(audit.pseudonym(connection, "CANARY^ID"))
                assert audit.pseudonym(connection, "") is None
            ledger.close()
        assert (tmp_path / name / "audit.key").stat().st_mode & 0o077 == 0
    assert found[0] == found[1] != found[2] == found[3]
    assert "CANARY" not in "".join(map(str, found))
