from __future__ import annotations

import pytest

from dicom_node.core.delivery import Backoff, Circuit

BACKOFF = Backoff(first_s=10.0, longest_s=3600.0, give_up_s=604_800.0)


def test_the_wait_doubles_up_to_its_limit() -> None:
    waits = [BACKOFF.next_attempt(n, 0.0, 0.0, 0.5) for n in range(1, 12)]
    assert waits[:4] == [10.0, 20.0, 40.0, 80.0]
    assert waits[-1] == 3600.0


@pytest.mark.parametrize(("jitter", "wait"), [(0.0, 7.5), (0.5, 10.0), (0.999, 12.495)])
def test_jitter_spreads_by_a_quarter(jitter: float, wait: float) -> None:
    assert BACKOFF.next_attempt(1, 100.0, 0.0, jitter) == pytest.approx(100.0 + wait)


def test_it_gives_up_in_the_end_and_not_before() -> None:
    assert BACKOFF.next_attempt(50, 604_799.0, 0.0, 0.0) is not None
    assert BACKOFF.next_attempt(50, 604_800.0, 0.0, 0.0) is None


def test_years_of_attempts_and_none_do_not_overflow() -> None:
    assert BACKOFF.next_attempt(10**9, 0.0, 0.0, 0.5) == 3600.0
    assert BACKOFF.next_attempt(0, 0.0, 0.0, 0.5) == 10.0


def test_no_wait_is_longer_than_the_longest_whatever_the_jitter() -> None:
    assert max(BACKOFF.wait_s(attempts, 0.999) for attempts in range(1, 40)) == 3600.0


def test_a_circuit_closes_longer_with_each_failure_and_opens_by_itself() -> None:
    first = Circuit().after_failure(BACKOFF, 100.0, 0.5)
    assert (first.is_closed(100.0), first.is_closed(109.9), first.is_closed(110.0)) == (True, True, False)
    second = first.after_failure(BACKOFF, 110.0, 0.5)
    assert (second.failures, second.closed_until) == (2, 130.0)


def test_a_destination_may_ask_for_more_time_and_never_for_less() -> None:
    assert Circuit().after_failure(BACKOFF, 0.0, 0.5, at_least_s=120.0).closed_until == 120.0
    assert Circuit().after_failure(BACKOFF, 0.0, 0.5, at_least_s=1.0).closed_until == 10.0


def test_c46_a_clock_that_was_set_back_opens_the_circuit() -> None:
    assert not Circuit().after_failure(BACKOFF, 86400.0, 0.5).is_closed(10.0)
