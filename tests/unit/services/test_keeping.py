"""Purging what is proved delivered and nothing else; taking up what a crash left; reading again what is kept."""

from __future__ import annotations

import errno
import hashlib
import os
import threading

import pytest
from sqlalchemy import update
from structlog.testing import capture_logs

from dicom_node.core.delivery import Backoff
from dicom_node.core.errors import Rejected
from dicom_node.core.identifiers import spool_key
from dicom_node.core.study import Quiet, StoreRequest
from dicom_node.ledger import audit, instances, jobs, outbox, purging, results, running, studies
from dicom_node.ledger.database import delivery, open_ledger
from dicom_node.ledger.instances import Recorded
from dicom_node.ledger.overview import Overview
from dicom_node.ledger.space import Space, Watermarks
from dicom_node.ledger.spool import StateFolders
from dicom_node.part10.writer import wrap
from dicom_node.services import losses
from dicom_node.services.keeping import GuardedIntake, Keeper
from dicom_node.services.scrubbing import FOUND, Scrubber
from tests.unit.ledger.arrivals import CR, an_arrival
from tests.unit.part10.test_header import EXPLICIT_LITTLE, a_radiograph, encoded

DAY = 86400.0
QUIET = Quiet(10.0, 60.0)
RETRY = Backoff(1.0, 2.0, 3.0)


class Store:
    """A state folder with a ledger, and a clock that a test sets."""

    def __init__(self, root):
        self.folders = StateFolders(root)
        self.folders.create()
        self.ledger = open_ledger(self.folders.ledger)
        self.now = 1000.0
        space = Space(self.folders, Watermarks(0, 0, 0))
        self.stopping = threading.Event()
        self.keeper = Keeper(self.ledger, self.folders, space, 30.0, lambda: self.now, self.stopping)

    def purge_due(self):
        """Purge after a run without a break up to now."""
        with self.ledger.transaction() as connection:
            if not running.read(connection).runs:
                running.begin(connection, 0.0)
            running.extend(connection, self.now)
        return self.keeper.purge_due()

    def scrubber(self):
        return Scrubber(self.ledger, self.folders, (QUIET, "bundle"), 1.0, lambda: self.now, self.stopping)

    def receive(self, number, content=b"pixels"):
        """Keep an instance of a study of its own, file and row."""
        arrival = an_arrival(f"1.2.{number}.1", content=content.decode(), study=f"1.2.{number}")
        path = self.folders.instance_path(arrival.spool_key)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(132) + content)
        with self.ledger.transaction() as connection:
            instances.record(connection, arrival, QUIET, "bundle", self.now)
        return path

    def answer(self):
        """Close what is open, analyse it and publish a result with its folders."""
        self.now += 100.0
        with self.ledger.transaction() as connection:
            studies.close_due(connection, "bundle", self.now)
            while (lease := jobs.lease(connection, self.now, 60.0)) is not None:
                jobs.complete(connection, lease)
                if lease.instance_id is not None:
                    folder = self._folder(f"analyses/{lease.instance_id}")
                    analysed = results.Analysed(lease.instance_id, "bundle", "{}", folder, "0")
                    results.save_analysis(connection, analysed, self.now)
                    studies.promote_waiting(connection, self.now)
                else:
                    folder = self._folder(f"results/{lease.version_id}")
                    found = results.Published("negative", 0.1, None, None, "bundle", folder, "0", ())
                    results.publish(connection, lease.version_id, found, ("pacs", "other"), self.now)

    def deliver(self, destination):
        with self.ledger.transaction() as connection:
            while dues := outbox.take_due(connection, destination, self.now):
                outbox.succeed(connection, dues[0], (), self.now)

    def give_up(self):
        with self.ledger.transaction() as connection:
            connection.execute(update(delivery).where(delivery.c.state == "ready").values(state="dead"))

    def _folder(self, name):
        (self.folders.root / name).mkdir(parents=True)
        (self.folders.root / name / "file").write_bytes(b"x")
        return name

    def storage(self):
        return {row["study_instance_uid"]: row["storage"] for row in Overview(self.folders.ledger).instances()}

    def events(self, name):
        return [record for record in Overview(self.folders.ledger).trail() if record.event == name]


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "state")
    yield store
    store.ledger.close()


def test_what_comes_between_the_look_and_the_purge_is_kept(store, monkeypatch):
    """The studies that are due are looked up in one transaction, and each is purged in one of its own."""
    file = store.receive(1)
    store.answer()
    store.deliver("pacs")
    store.deliver("other")
    store.now += 31 * DAY
    look = purging.due
    came = []

    def due(connection, after, is_old, limit):
        found = look(connection, after, is_old, limit)
        if found[0] and not came:
            came.append(instances.record(connection, an_arrival("1.2.1.2", study="1.2.1"), QUIET, "bundle", store.now))
        return found

    monkeypatch.setattr(purging, "due", due)
    assert store.purge_due() == 0
    assert came == [Recorded.NEW]
    assert file.exists()


def test_only_what_every_destination_has_stored_long_enough_ago_is_purged(store):
    files = [store.receive(number) for number in (1, 2)]
    store.answer()
    store.deliver("pacs")
    store.now += 31 * DAY
    assert store.purge_due() == 0, "the other destination has not stored it"
    store.deliver("other")
    store.now += 29 * DAY
    assert store.purge_due() == 0, "not long enough ago"
    store.now += 2 * DAY
    assert store.purge_due() == 2
    assert not any(file.exists() for file in files)
    left = [path for name in ("analyses", "results", "instances") for path in (store.folders.root / name).rglob("file")]
    assert left == []
    assert store.storage() == {"1.2.1": "purged", "1.2.2": "purged"}
    assert [record.study_instance_uid for record in store.events("study.purged")] == ["1.2.1", "1.2.2"], "oldest first"
    assert store.purge_due() == 0


@pytest.mark.parametrize("state", ["ready", "sending", "dead"])
def test_a_study_with_a_delivery_that_is_not_done_is_kept_for_ever(store, state):
    file = store.receive(1)
    store.answer()
    store.deliver("pacs")
    store.deliver("other")
    with store.ledger.transaction() as connection:
        connection.execute(update(delivery).where(delivery.c.destination == "other").values(state=state))
    store.now += 1000 * DAY
    assert store.purge_due() == 0
    assert file.exists()


def test_a_study_without_a_result_or_with_a_newer_image_is_kept(store):
    unanswered = store.receive(1)
    store.now += 1000 * DAY
    assert store.purge_due() == 0
    store.answer()
    store.deliver("pacs")
    store.deliver("other")
    store.now += 1000 * DAY
    with store.ledger.transaction() as connection:
        late = an_arrival("1.2.1.2", study="1.2.1")
        instances.record(connection, late, QUIET, "bundle", store.now)
    assert store.purge_due() == 0
    assert unanswered.exists()


def test_what_was_purged_is_taken_anew_when_it_is_sent_again(store):
    store.receive(1)
    store.answer()
    assert not store.keeper.purge_study("1.2.1"), "its result is still to be sent"
    store.give_up()
    assert store.keeper.purge_study("1.2.1")
    assert not store.keeper.purge_study("1.2.1"), "there is nothing left"
    file = store.receive(1)
    assert store.storage() == {"1.2.1": "spool"}
    store.answer()
    with store.ledger.transaction() as connection:
        assert results.to_compose(connection, 2, "bundle").views, "it was analysed again"
    assert file.exists()
    store.give_up()
    assert store.keeper.purge_study("1.2.1")


def test_what_is_not_answered_yet_is_not_purged_by_hand(store):
    file = store.receive(1)
    assert not store.keeper.purge_study("1.2.1")
    with store.ledger.transaction() as connection:
        studies.close_due(connection, "bundle", store.now + 100)
    assert not store.keeper.purge_study("1.2.1")
    assert file.exists()


def test_a_crash_between_the_files_and_the_rows_of_a_purge_is_mended_by_the_next(store, monkeypatch):
    store.receive(1)
    store.answer()
    for name in ("pacs", "other"):
        store.deliver(name)
    store.now += 31 * DAY

    def dies(*_arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("dicom_node.ledger.purging.note_purged", dies)
        with pytest.raises(KeyboardInterrupt):
            store.purge_due()
    assert store.storage() == {"1.2.1": "spool"}
    assert store.purge_due() == 1
    assert len(store.events("study.purged")) == 1


def test_a_whole_file_without_a_row_is_taken_up_and_analysed(store):
    data = encoded(a_radiograph())
    key = spool_key("1.2.3.4", hashlib.sha256(data).hexdigest())
    path = store.folders.instance_path(key)
    path.write_bytes(wrap(data, CR, "1.2.3.4", EXPLICIT_LITTLE))
    store.now = path.stat().st_mtime + 100
    assert store.scrubber().adopt_orphans() == 1
    assert store.scrubber().adopt_orphans() == 0
    (row,) = Overview(store.folders.ledger).instances()
    assert (row["role"], row["sha256"], row["calling_ae"]) == ("view", hashlib.sha256(data).hexdigest(), FOUND)
    with store.ledger.transaction() as connection:
        assert jobs.lease(connection, store.now, 1.0) is not None


@pytest.mark.parametrize("left", [0, 1, 150, 300, -1])
def test_c38_a_torn_file_without_a_row_is_set_aside(store, left):
    data = encoded(a_radiograph())
    key = spool_key("1.2.3.4", hashlib.sha256(data).hexdigest())
    path = store.folders.instance_path(key)
    path.write_bytes(wrap(data, CR, "1.2.3.4", EXPLICIT_LITTLE)[:left])
    store.now = path.stat().st_mtime + 100
    assert store.scrubber().adopt_orphans() == 0
    assert not path.exists()
    assert [file.name for file in store.folders.quarantine.iterdir()] == [path.name]
    assert len(store.events("file.set-aside")) == 1
    assert Overview(store.folders.ledger).instances() == []


def test_a_file_that_came_after_the_start_is_left_to_its_own_association(store):
    store.now = 2e9
    scrubber = store.scrubber()
    path = store.folders.instances / "ab" / ("ab" * 32 + ".dcm")
    path.write_bytes(b"still being recorded")
    os.utime(path, (2e9 + 5, 2e9 + 5))
    assert scrubber.adopt_orphans() == 0
    assert path.exists()


def test_the_scrub_goes_on_where_it_was_and_finds_the_changed_and_the_missing(store):
    files = [store.receive(number, content=b"pixels %d" % number) for number in (1, 2, 3, 4)]
    files[1].write_bytes(bytes(132) + b"pixelz 2")
    files[2].unlink()
    assert [store.scrubber().scrub_next() for _ in range(5)] == [8, 8, 8, 8, None], "each by another scrubber"
    assert store.storage() == {"1.2.1": "spool", "1.2.2": "damaged", "1.2.3": "missing", "1.2.4": "spool"}
    assert [r.study_instance_uid for r in store.events("instance.damaged")] == ["1.2.2", "1.2.3"]
    assert [file.name for file in store.folders.quarantine.iterdir()] == [files[1].name]
    assert [store.scrubber().scrub_next() for _ in range(3)] == [8, 8, None], "what is lost is not read again"


def test_what_is_purged_while_its_file_is_read_again_is_not_lost(store, monkeypatch):
    store.receive(1)
    store.answer()
    store.give_up()

    def purged_meanwhile(_path, _size):
        store.keeper.purge_study("1.2.1")
        raise FileNotFoundError

    monkeypatch.setattr("dicom_node.services.losses.data_set_digest", purged_meanwhile)
    store.scrubber().scrub_next()
    assert store.storage() == {"1.2.1": "purged"}
    assert store.events("instance.damaged") == []


def test_a_damaged_instance_is_taken_anew_and_analysed_again(store):
    path = store.receive(1)
    store.answer()
    path.write_bytes(bytes(132) + b"pixelz")
    store.scrubber().scrub_next()
    with store.ledger.transaction() as connection:
        again = instances.record(connection, an_arrival("1.2.1.1", study="1.2.1"), QUIET, "bundle", store.now)
        assert again is Recorded.NEW
        lease = jobs.lease(connection, store.now, 1.0)
        assert lease is not None
        assert audit.last(connection, "instance.stored") is not None


def test_c40_after_a_failed_sync_nothing_is_begun_until_the_disk_works(store):
    class Broken:
        def write(self, pieces):
            pass

        def finish(self):
            message = "the node cannot write its state folder (OSError)"
            raise Rejected(message, 0xA700) from OSError(5, "Input/output error")

        def abort(self):
            pass

    space = Space(store.folders, Watermarks(0, 0, 0))
    intake = GuardedIntake(lambda _request: Broken(), space)
    request = StoreRequest(CR, "1.2.3", EXPLICIT_LITTLE, "PACS", "127.0.0.1")
    sink = intake.open(request)
    with pytest.raises(Rejected):
        sink.finish()
    assert not space.accepting()
    with pytest.raises(Rejected, match="storage failed"):
        intake.open(request)
    assert space.tend() == "recovered"
    intake.open(request).abort()


def test_c40_a_file_that_cannot_be_read_is_told_and_the_scrub_goes_on_behind_it(store, monkeypatch):
    for number in (1, 2):
        store.receive(number, content=b"pixels %d" % number)
    read = losses.data_set_digest

    def fails_once(*_arguments):
        monkeypatch.setattr(losses, "data_set_digest", read)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(losses, "data_set_digest", fails_once)
    assert [store.scrubber().scrub_next() for _ in range(3)] == [8, 8, None]
    assert [record.study_instance_uid for record in store.events("instance.unreadable")] == ["1.2.1"]
    assert store.storage() == {"1.2.1": "spool", "1.2.2": "spool"}


def test_c40_what_cannot_be_read_in_the_spool_keeps_no_node_from_starting(store):
    (store.folders.instances / "ab" / "a folder").mkdir()
    store.now = 2e9
    with capture_logs() as events:
        assert store.scrubber().adopt_orphans() == 0
    assert [event["event"] for event in events] == ["file.unreadable"]


def test_c40_a_study_whose_files_cannot_be_removed_is_purged_later(store, monkeypatch):
    for number in (1, 2):
        store.receive(number)
    store.answer()
    for name in ("pacs", "other"):
        store.deliver(name)
    store.now += 31 * DAY
    remove = store.keeper._remove

    def fails_once(_held):
        monkeypatch.setattr(store.keeper, "_remove", remove)
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(store.keeper, "_remove", fails_once)
    assert store.purge_due() == 1
    assert store.storage() == {"1.2.1": "spool", "1.2.2": "purged"}
    assert store.purge_due() == 1
