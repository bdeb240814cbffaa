"""What ages by running: no clock, however wrong, makes it older than it is."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from dicom_node.core.running import Ran, Run

DAY = 86400.0


def test_time_off_and_leaps_do_not_count() -> None:
    ran = Ran((Run(0.0, 10 * DAY), Run(20 * DAY, 25 * DAY), Run(3650 * DAY, 3651 * DAY), Run(26 * DAY, 27 * DAY)))
    assert ran.since(9 * DAY) == 1 * DAY + 5 * DAY + 1 * DAY + 1 * DAY
    assert ran.since(24 * DAY) == 1 * DAY + 1 * DAY + 1 * DAY
    assert ran.since(3650 * DAY) == 2 * DAY, "dated by a clock that was ahead"
    assert ran.since(26 * DAY) == 1 * DAY
    assert ran.since(27 * DAY + 60) == 0.0, "the run's end is noted once a minute"
    assert ran.since(-1.0) == 17 * DAY, "before the first run"
    assert Ran(()).since(0.0) == 0.0
    assert ran.until(27 * DAY + 60).since(26 * DAY) == DAY + 60
    assert ran.until(100 * DAY).since(26 * DAY) == DAY, "not without a run"


@given(
    steps=st.lists(st.tuples(st.floats(0, 100), st.floats(-5000, 5000)), min_size=1, max_size=8),
    share=st.floats(0, 1),
    which=st.integers(0, 7),
)
def test_nothing_is_held_for_older_than_it_is(steps, share, which) -> None:
    """A clock is stepped at will; what was dated in any run is never said to be older than the node has run since."""
    wall, runs, truth = 10_000.0, [], []
    dated = min(which, len(steps) - 1)
    for number, (lasts, step) in enumerate(steps):
        runs.append(Run(wall, wall + lasts))
        if number == dated:
            at = wall + share * lasts
            truth.append((1 - share) * lasts)
        elif number > dated:
            truth.append(lasts)
        wall += lasts + step
    found = Ran(tuple(runs)).since(at)
    assert found <= math.fsum(truth) + 1e-6
