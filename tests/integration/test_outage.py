"""Three days without the PACS, on a clock that the test moves; `scripts/bench survive` does it with 10,000 results."""

from __future__ import annotations

import pytest

from tests.support.outage import Outage

pytestmark = pytest.mark.timeout(180)

RESULTS, HOURS, LONGEST_S = 100, 72, 3600.0


def test_c42_three_days_without_the_pacs_lose_and_double_nothing_and_keep_the_order(tmp_path, monkeypatch):
    monkeypatch.setattr("pynetdicom._config.UNRESTRICTED_STORAGE_SERVICE", False)
    outage = Outage(tmp_path / "state", 1000.0, retry_first_s=5.0, retry_longest_s=LONGEST_S)
    with outage.node:
        outage.fill(RESULTS, HOURS)
        assert outage.node.known("pacs")["waiting"] == RESULTS
        delivered = outage.end()
    assert delivered.is_whole
    assert len(delivered.stored) == RESULTS
    assert delivered.first_s <= LONGEST_S
    assert HOURS <= delivered.tries <= HOURS / 0.75 + 12, "a connection a wait, however much is queued"
    assert delivered.longest_pause_s <= LONGEST_S + 1
