"""C46: a clock that jumps by a day loses nothing, and the audit trail keeps its order."""

from __future__ import annotations

import pytest

from dicom_node.core.study import Quiet
from dicom_node.ledger import instances, jobs, studies
from dicom_node.ledger.audit import verify
from dicom_node.ledger.database import open_ledger
from dicom_node.ledger.overview import Overview
from tests.unit.ledger.arrivals import an_arrival

DAY = 86400.0
NOON = 100 * DAY


@pytest.fixture
def path(place):
    return place


def test_c46_the_trail_keeps_its_order_and_its_seal_whatever_the_clock_says(path):
    ledger = open_ledger(path)
    times = [NOON, NOON + DAY, NOON - DAY, NOON, 0.0, NOON + 1]
    for number, now in enumerate(times):
        with ledger.transaction() as connection:
            instances.record(connection, an_arrival(f"1.2.3.{number}"), Quiet(10, 60), "bundle", now)
    ledger.close()
    records = list(Overview(path).trail())
    stored = [record for record in records if record.event == "instance.stored"]
    assert [record.at for record in stored] == times
    assert [record.seq for record in records] == list(range(1, len(records) + 1))
    assert verify(records).problem is None


@pytest.mark.parametrize("jump", [DAY, -DAY])
def test_c46_a_study_whose_clock_jumped_is_still_closed_and_its_job_leased_once(path, jump):
    ledger = open_ledger(path)
    now = NOON
    with ledger.transaction() as connection:
        instances.record(connection, an_arrival("1.2.3.1"), Quiet(10, 60), "bundle", now)
    now += jump
    with ledger.transaction() as connection:
        instances.record(connection, an_arrival("1.2.3.2"), Quiet(10, 60), "bundle", now)
        due = studies.next_closing(connection)
        assert due is not None
        now = max(due, now)
        (closed,) = studies.close_due(connection, "bundle", now)
        assert closed.views == 2
        # A lease is only offered where its hour has come; a jump back may delay it, and never doubles it.
        now = max(now, NOON)
        leases = [jobs.lease(connection, now, 60.0), jobs.lease(connection, now, 60.0)]
        assert len({lease.instance_id for lease in leases if lease is not None}) == 2
        assert jobs.lease(connection, now, 60.0) is None
    ledger.close()
