"""What is begun ahead: taken by who asks for it, dropped without harm, told of with its own errors."""

from __future__ import annotations

import threading

import pytest

from dicom_node.services.lookahead import Lookahead
from tests.support.waiting import until


@pytest.fixture
def asked():
    """Return what was asked for, in order, and a look-ahead that notes it and fails on what begins with a minus."""
    seen, free = [], threading.Event()

    def look(key):
        seen.append(key)
        free.wait(60)
        if key.startswith("-"):
            raise ValueError(key)
        return key.upper()

    ahead = Lookahead(look, 1)
    yield ahead, seen, free
    free.set()
    ahead.close()


def test_what_was_begun_is_taken_once_while_it_is_under_way_and_the_next_is_begun_beside_it(asked):
    ahead, seen, free = asked
    ahead.begin(["a"])
    ahead.begin(["a"])
    first = ahead.take("a")
    assert first is not None
    assert ahead.take("a") is None, "it is the caller's now"
    ahead.begin(["b"])
    second = ahead.take("b")
    assert not first.done()
    free.set()
    assert (first.result(60), second.result(60)) == ("A", "B")
    assert sorted(seen) == ["a", "b"]


def test_what_nobody_asks_for_is_dropped_and_what_was_not_begun_is_nobody_s(asked):
    ahead, seen, free = asked
    ahead.begin(["a", "b"])
    until(lambda: sorted(seen) == ["a", "b"], 60, "both are under way")
    ahead.begin(["c", "d"])  # there are two threads: these wait
    ahead.begin(["d"])
    assert ahead.take("a") is None
    free.set()
    assert ahead.take("d").result(60) == "D"
    assert set(seen) == {"a", "b", "d"}


def test_an_error_is_told_to_who_asks_for_it_and_to_nobody_else(asked):
    ahead, _, free = asked
    free.set()
    ahead.begin(["-x", "b"])
    assert ahead.take("b").result(60) == "B"
    ahead.begin(["-y"])
    with pytest.raises(ValueError, match="-y"):
        ahead.take("-y").result(60)


def test_its_end_waits_for_what_is_under_way(asked):
    ahead, seen, free = asked
    ahead.begin(["a"])
    threading.Timer(0.05, free.set).start()
    ahead.close()
    assert seen in ([], ["a"])
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]
