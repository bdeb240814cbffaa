"""Studies close from rows, versions follow each other, nothing is reported twice."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from dicom_node.core.delivery import Backoff
from dicom_node.core.study import Quiet, Role
from dicom_node.ledger import instances, jobs, outbox, results, studies, waiting
from dicom_node.ledger.database import study, version
from dicom_node.ledger.instances import Recorded
from tests.unit.ledger.arrivals import an_arrival

QUIET = Quiet(quiet_s=10.0, max_wait_s=60.0)


@pytest.fixture
def ledger(empty):
    return empty


def receive(ledger, uid, now, **kind):
    with ledger.transaction() as connection:
        return instances.record(connection, an_arrival(uid, **kind), QUIET, "bundle", now)


def close(ledger, now):
    with ledger.transaction() as connection:
        closed = studies.close_due(connection, "bundle", now)
        return closed, len(studies.promote_waiting(connection, now))


def answer_all(ledger, now):
    """Do every job that is due, as a worker would."""
    published = 0
    with ledger.transaction() as connection:
        while (lease := jobs.lease(connection, now, 60.0)) is not None:
            assert jobs.complete(connection, lease)
            if lease.instance_id is not None:
                analysed = results.Analysed(lease.instance_id, "bundle", "{}", None, None)
                results.save_analysis(connection, analysed, now)
            else:
                sr = results.ReportObject(
                    "sr", "sr", "1.2", f"2.25.{lease.version_id}", "2.25.9", "1.2.840.10008.1.2.1", "f"
                )
                found = results.Published("negative", 0.1, None, None, "bundle", "results/1", "digest", (sr,))
                published += results.publish(connection, lease.version_id, found, ("pacs",), now)
            studies.promote_waiting(connection, now)
    return published


def versions(ledger):
    with ledger.transaction() as connection:
        return [(row.number, row.state) for row in connection.execute(select(version).order_by(version.c.id))]


def test_a_study_whose_only_radiograph_was_replaced_or_is_another_studys_now_makes_no_empty_result(ledger):
    receive(ledger, "1.2.3.1", now=0.0)
    receive(ledger, "1.2.3.1", now=1.0, content="a text", role=Role.KEPT)
    receive(ledger, "1.2.4.1", now=1.0, content="x", study="1.2.4")
    receive(ledger, "1.2.4.1", now=2.0, content="y", study="1.2.5")
    closed, _ = close(ledger, 100.0)
    assert {one.study_instance_uid: one.version for one in closed} == {"1.2.3": None, "1.2.4": None, "1.2.5": 1}
    assert answer_all(ledger, 100.0) == 1


def test_a_study_closes_after_the_quiet_period_and_not_before(ledger):
    receive(ledger, "1.1", 100.0)
    receive(ledger, "1.2", 105.0)
    assert close(ledger, 114.9) == ([], 0)
    closed, _ = close(ledger, 115.0)
    assert [(item.version, item.views) for item in closed] == [(1, 2)]


def test_a_study_that_never_falls_quiet_closes_at_the_longest_wait(ledger):
    for second in range(0, 70, 5):
        receive(ledger, f"1.{second}", 100.0 + second)
    closed, _ = close(ledger, 165.0)
    assert closed
    assert closed[0].version == 1


def test_composition_waits_for_every_analysis(ledger):
    receive(ledger, "1.1", 100.0)
    receive(ledger, "1.2", 100.0)
    _, promoted = close(ledger, 110.0)
    assert promoted == 0
    assert answer_all(ledger, 111.0) == 1
    assert versions(ledger) == [(1, "published")]


def test_a_late_view_makes_exactly_one_new_version_with_its_predecessor(ledger):
    receive(ledger, "1.1", 100.0)
    close(ledger, 110.0)
    answer_all(ledger, 111.0)
    receive(ledger, "1.2", 200.0)
    close(ledger, 210.0)
    answer_all(ledger, 211.0)
    close(ledger, 1000.0)
    assert versions(ledger) == [(1, "published"), (2, "published")]
    with ledger.transaction() as connection:
        work = results.to_compose(connection, 2, "bundle")
    assert [before.sop_instance_uid for before in work.predecessors] == ["2.25.1"]
    assert len(work.views) == 2


def test_a_version_that_was_never_published_gives_way_to_the_next(ledger):
    receive(ledger, "1.1", 100.0)
    close(ledger, 110.0)
    receive(ledger, "1.2", 111.0)
    close(ledger, 130.0)
    assert versions(ledger) == [(1, "superseded"), (2, "waiting")]
    answer_all(ledger, 131.0)
    assert versions(ledger) == [(1, "superseded"), (2, "published")]


def test_the_same_bytes_again_change_nothing(ledger):
    assert receive(ledger, "1.1", 100.0) is Recorded.NEW
    close(ledger, 110.0)
    answer_all(ledger, 111.0)
    assert receive(ledger, "1.1", 200.0) is Recorded.DUPLICATE
    assert close(ledger, 1000.0) == ([], 0)
    assert versions(ledger) == [(1, "published")]


def test_other_bytes_under_a_known_uid_are_a_conflict_and_the_newer_counts(ledger):
    receive(ledger, "1.1", 100.0)
    close(ledger, 110.0)
    answer_all(ledger, 111.0)
    assert receive(ledger, "1.1", 200.0, content="other pixels") is Recorded.CONFLICT
    close(ledger, 210.0)
    answer_all(ledger, 211.0)
    with ledger.transaction() as connection:
        assert len(results.to_compose(connection, 2, "bundle").views) == 1


def test_the_first_bytes_again_after_a_conflict_count_again(ledger):
    receive(ledger, "1.1", 100.0)
    receive(ledger, "1.1", 101.0, content="other pixels")
    assert receive(ledger, "1.1", 102.0) is Recorded.CONFLICT
    close(ledger, 120.0)
    assert answer_all(ledger, 121.0) == 1


def test_what_is_no_view_never_reopens_a_study_and_never_makes_a_result(ledger):
    receive(ledger, "1.1", 100.0, role=Role.KEPT)
    closed, _ = close(ledger, 110.0)
    assert [item.version for item in closed] == [None]
    receive(ledger, "1.2", 200.0)
    close(ledger, 210.0)
    answer_all(ledger, 211.0)
    receive(ledger, "2.25.1", 300.0, role=Role.OWN_RESULT)
    assert close(ledger, 1000.0) == ([], 0)
    with ledger.transaction() as connection:
        assert connection.execute(select(study.c.state)).scalar_one() == "closed"


def test_another_bundle_after_a_restart_answers_what_is_not_published(ledger):
    receive(ledger, "1.1", 100.0)
    with ledger.transaction() as connection:
        lease = jobs.lease(connection, 100.0, 60.0)
        jobs.complete(connection, lease)
        results.save_analysis(connection, results.Analysed(lease.instance_id, "bundle", "{}", None, None), 100.0)
    close(ledger, 110.0)
    with ledger.transaction() as connection:
        studies.recompose_unpublished(connection)
        studies.queue_missing_analyses(connection, "another", 120.0)
        assert studies.promote_waiting(connection, 120.0) == []
        lease = jobs.lease(connection, 120.0, 60.0)
        assert lease.kind == jobs.ANALYSE
        jobs.complete(connection, lease)
        results.save_analysis(connection, results.Analysed(lease.instance_id, "another", "{}", None, None), 121.0)
        assert len(studies.promote_waiting(connection, 121.0)) == 1
        compose = jobs.lease(connection, 121.0, 60.0)
        assert compose.kind == jobs.COMPOSE
        assert len(results.to_compose(connection, compose.version_id, "another").views) == 1


def test_a_bundle_that_is_switched_and_switched_back_answers_every_view(ledger):
    """The other bundle's worker took the job that was queued for the first one."""
    receive(ledger, "1.1", 100.0)
    with ledger.transaction() as connection:
        lease = jobs.lease(connection, 101.0, 60.0)
        jobs.complete(connection, lease)
        results.save_analysis(connection, results.Analysed(lease.instance_id, "other", "{}", None, None), 101.0)
    closed, composing = close(ledger, 200.0)  # the first bundle is used again
    assert (closed[0].views, composing) == (1, 0), "it waits for the view"
    assert answer_all(ledger, 201.0) == 1


def test_a_version_that_failed_gives_way_to_the_next_and_is_never_taken_up_again(ledger):
    receive(ledger, "1.1", 100.0)
    close(ledger, 200.0)
    with ledger.transaction() as connection:
        lease = jobs.lease(connection, 200.0, 60.0)
        jobs.complete(connection, lease)
        analysed = results.Analysed(lease.instance_id, "bundle", "{}", None, None)
        results.save_analysis(connection, analysed, 200.0)
        studies.promote_waiting(connection, 200.0)
        lease = jobs.lease(connection, 200.0, 60.0)
        assert jobs.fail(connection, lease, "no header", Backoff(0.0, 0.0, 0.0), 200.0, 0.5)
        results.fail_version(connection, lease.version_id, "no header", 200.0)
    receive(ledger, "1.2", 300.0)
    close(ledger, 400.0)
    assert answer_all(ledger, 401.0) == 1
    assert versions(ledger) == [(1, "superseded"), (2, "published")]
    with ledger.transaction() as connection:
        assert waiting.revive(connection, "", 500.0) == waiting.Changed(0, 0)
    assert answer_all(ledger, 501.0) == 0, "an older result after the newer one"


def test_deliveries_of_a_study_keep_their_order(ledger):
    backoff = Backoff(5.0, 60.0, 600.0)
    receive(ledger, "1.1", 100.0)
    close(ledger, 110.0)
    answer_all(ledger, 111.0)
    receive(ledger, "1.2", 200.0)
    close(ledger, 210.0)
    answer_all(ledger, 211.0)
    with ledger.transaction() as connection:
        (first,) = outbox.take_due(connection, "pacs", 300.0)
        assert first is not None
        assert first.version == 1
        assert outbox.take_due(connection, "pacs", 300.0) == ()
        again = outbox.postpone(connection, first, "refused", backoff, 300.0, jitter=0.5)
        assert again == 305.0
        assert outbox.take_due(connection, "pacs", 301.0) == ()
        (first,) = outbox.take_due(connection, "pacs", 306.0)
        outbox.succeed(connection, first, (), 306.0)
        (second,) = outbox.take_due(connection, "pacs", 306.0)
        assert second.version == 2
        assert outbox.postpone(connection, second, "refused", backoff, 900.0, jitter=0.5) is None
        assert outbox.revive(connection, "1.2.3", 901.0) == 1
        assert outbox.take_due(connection, "pacs", 901.0)[0].version == 2
