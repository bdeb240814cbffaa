"""The node on paper waits as queueing theory says, and closes studies as the node does."""

from __future__ import annotations

import numpy as np
import pytest

from tests.benchmarks.fleet_arrivals import Image, Kind, Send
from tests.benchmarks.fleet_paper import Paper, Service, ages, busy_share, kind_name

LIMB = Kind("EXTREMITY", "DX", 2000, 2500, compressed=False)
PAGE = Kind("DOCUMENT", "OT", 10, 10, compressed=False)


def service(analyse: float = 1.0, compose: float = 0.0, send: float = 0.0, receive: float = 0.0) -> Service:
    samples = {kind_name(LIMB): (analyse,)}
    return Service(receive, 0.0, samples, {"EXTREMITY 1": (compose,)}, (send,))


def view(study: int, number: int = 0) -> Image:
    return Image(study, number, LIMB)


@pytest.mark.parametrize("load", [0.5, 0.7])
def test_images_wait_as_long_as_in_an_m_d_1_queue(load: float) -> None:
    at = np.random.default_rng(1).exponential(1.0 / load, 20_000).cumsum()
    outcome = Paper(service(), 1e9, 1e9).run(Send(float(t), (view(n),)) for n, t in enumerate(at))
    analyses = [end - start - 1.0 for start, end in outcome.waits if end < at[-1]]
    assert np.mean(analyses) == pytest.approx(load / (2 * (1 - load)), rel=0.07)  # Pollaczek and Khinchine


def test_a_lone_study_is_answered_after_quiet_period_composition_and_sending() -> None:
    outcome = Paper(service(1.0, 2.0, 4.0, receive=0.5), 30.0, 600.0).run([Send(100.0, (view(0), view(0, 1)))])
    assert outcome.turnaround_s == [6.0]
    assert outcome.waits == [(100.5, 101.5), (101.0, 102.5), (131.0, 137.0)]
    assert outcome.work == [(100.5, 101.5), (101.5, 102.5), (131.0, 133.0)]


def test_each_view_puts_the_closing_off_but_not_for_ever() -> None:
    sends = [Send(20.0 * n, (view(0, n),)) for n in range(5)]
    assert len(Paper(service(), 30.0, 600.0).run(sends).turnaround_s) == 1
    outcome = Paper(service(), 30.0, 50.0).run(sends)
    assert [start for start, end in outcome.waits if start in {50.0, 110.0}] == [50.0, 110.0]


def test_a_late_view_makes_another_version_and_the_same_bytes_none() -> None:
    sends = [Send(0.0, (view(0),)), Send(50.0, (view(0),), again=True), Send(100.0, (view(0, 1),))]
    sends.append(Send(200.0, (Image(0, 2, PAGE),)))
    assert len(Paper(service(), 30.0, 600.0).run(sends).turnaround_s) == 2


def test_a_version_that_waits_for_analyses_gives_way_to_the_next() -> None:
    sends = [Send(0.0, (view(0),)), Send(40.0, (view(0, 1),))]
    outcome = Paper(service(analyse=80.0), 30.0, 600.0).run(sends)
    assert outcome.turnaround_s == [90.0]  # closed at 30 and, with both views, at 70; analysed at 80 and 160


def test_a_version_is_composed_once_its_own_views_are_analysed() -> None:
    sends = [Send(0.0, (view(0),)), Send(40.0, (view(0, 1),))]
    outcome = Paper(service(analyse=50.0, compose=1.0), 30.0, 600.0).run(sends)
    assert outcome.turnaround_s == [21.0, 32.0]  # closed at 30 and 70; analysed at 50 and, after a composition, at 101


def test_a_study_that_waits_for_its_report_goes_before_new_images() -> None:
    sends = [Send(0.0, (view(0),)), *(Send(29.0, (view(n),)) for n in range(1, 10))]
    outcome = Paper(service(analyse=2.0), 30.0, 600.0).run(sends)
    assert outcome.turnaround_s[0] == 1.0  # closed at 30 while an image is analysed until 31


def test_what_was_not_measured_is_drawn_from_its_nearest_neighbour() -> None:
    samples = {"EXTREMITY DX 2000x2500 native": (1.0,), "CHEST DX 3000x3000 native": (5.0,)}
    known = Service(0.0, 0.0, samples, {"EXTREMITY 2": (7.0,), "EXTREMITY 8": (9.0,), "CHEST 3": (3.0,)}, (0.0,))
    kind = Kind("EXTREMITY", "DX", 2500, 3000, compressed=True)
    outcome = Paper(known, 30.0, 600.0).run([Send(0.0, tuple(Image(0, n, kind) for n in range(3)))])
    assert outcome.work == [(0.0, 1.0), (1.0, 2.0), (2.0, 3.0), (30.0, 37.0)]


def test_the_age_of_a_queue_is_that_of_its_oldest() -> None:
    assert ages([(0.0, 10.0), (2.0, 4.0), (12.0, 13.0)], [1.0, 3.0, 9.0, 10.0, 12.5]) == [1.0, 3.0, 9.0, 0.0, 0.5]


def test_the_busy_share_of_a_bin_is_what_work_fills_of_it() -> None:
    assert busy_share([(0.5, 1.5), (3.0, 4.0)], [0.0, 1.0, 2.0, 4.0]) == [0.5, 0.5, 0.5]
    assert busy_share([], [0.0, 1.0]) == [0.0]
