"""The arrival model keeps to the published figures that it is drawn from."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest

from tests.benchmarks import fleet_sources as model
from tests.benchmarks.fleet_arrivals import (
    SITES,
    Image,
    Kind,
    Send,
    Site,
    after_outage,
    between,
    day,
    rates,
    with_casualties,
)

HOUR = 3600.0
LARGE = Site("large", 20)  # 10,000 studies a day: shares are within a per cent or so


@pytest.fixture(scope="module")
def monday() -> list[Send]:
    return day(LARGE, seed=5)


def firsts(sends: list[Send]) -> dict[int, Send]:
    """Return the send of each study's first view."""
    return {s.images[0].study: s for s in sends if not s.again and s.images[0].number == 0}


def test_a_week_of_all_sources_makes_seven_mean_days() -> None:
    assert sum(sum(rates(source, weekday)) for source in model.SOURCE_SHARES for weekday in range(7)) == pytest.approx(
        7
    )


def test_a_region_is_ten_hospitals_and_england_s_rate() -> None:
    assert SITES["hospital"].studies_a_day == pytest.approx(449, abs=1)
    assert SITES["region"].studies_a_day * 365 / 3.8e6 == pytest.approx(0.43, abs=0.01)


def test_emergency_arrivals_are_those_that_were_published() -> None:
    hours, monday = model.HOURS["emergency"], rates("emergency", 0)
    week_mean = model.SOURCE_SHARES["emergency"] / 24
    assert sum(hours[9:18]) / sum(hours) == pytest.approx(0.60, abs=0.02)
    assert sum(monday[10:12]) / 2 / week_mean == pytest.approx(2.0, abs=0.15)
    assert sum(monday) / 7 / model.SOURCE_SHARES["emergency"] == pytest.approx(0.158, abs=0.002)
    assert monday[10] / 7 / model.SOURCE_SHARES["emergency"] == pytest.approx(0.012, abs=0.001)


def test_the_same_seed_draws_the_same_day_and_another_one_another() -> None:
    assert day(SITES["hospital"], 3) == day(SITES["hospital"], 3)
    assert day(SITES["hospital"], 3) != day(SITES["hospital"], 4)


def test_a_drawn_day_has_the_rates_that_it_was_drawn_from(monday: list[Send]) -> None:
    expected = [LARGE.studies_a_day * sum(rates(source, 0)[h] for source in model.SOURCE_SHARES) for h in range(24)]
    seen = Counter(int(send.at_s // HOUR) for send in firsts(monday).values())
    assert len(firsts(monday)) == pytest.approx(sum(expected), rel=0.1)  # an hour's noise does not average out wholly
    assert [seen[h] for h in (3, 10, 14)] == pytest.approx([expected[h] for h in (3, 10, 14)], rel=0.5)
    assert max(seen, key=lambda h: seen[h]) in {9, 10, 11}


def test_views_sizes_and_what_is_no_radiograph(monday: list[Send]) -> None:
    views: dict[int, set[int]] = defaultdict(set)
    for send in monday:
        for image in send.images:
            if image.kind.is_radiograph and not send.again:
                views[image.study].add(image.number)
    limbs = [len(views[s.images[0].study]) for s in firsts(monday).values() if s.images[0].kind.region == "EXTREMITY"]
    assert sum(limbs) / len(limbs) == pytest.approx(40_561 / 14_863, abs=0.1)  # MURA; late views are a little more
    assert 8 <= max(limbs) <= 9
    native = {i.kind.megabytes for s in monday for i in s.images if i.kind.is_radiograph and not i.kind.compressed}
    assert (min(native), max(native)) == pytest.approx((2.6, 18.0))
    pages = {i.study for s in monday for i in s.images if not i.kind.is_radiograph}
    assert len(pages) / len(views) == pytest.approx(model.DOCUMENT_SHARE, abs=0.01)


def test_views_come_at_once_or_seconds_to_minutes_apart(monday: list[Send]) -> None:
    limbs = [s for s in firsts(monday).values() if s.images[0].kind.region == "EXTREMITY"]
    assert sum(len(s.images) > 1 for s in limbs) / len(limbs) == pytest.approx(model.AT_ONCE_SHARE, abs=0.05)
    views = [s for s in monday if not s.again and s.images[0].kind.is_radiograph]
    second = {s.images[0].study: s.at_s for s in views if s.images[0].number == 1}
    gaps = sorted(second[s.images[0].study] - s.at_s for s in limbs if s.images[0].study in second)
    assert gaps[len(gaps) // 2] == pytest.approx(model.GAP_MEDIAN_S, rel=0.1)
    assert gaps[0] > 0


def test_late_views_and_repeats_follow_their_study(monday: list[Send]) -> None:
    first, again = firsts(monday), [s for s in monday if s.again]
    assert len(again) / len(first) == pytest.approx(model.AGAIN_SHARE, abs=0.01)
    assert all(s.at_s >= first[s.images[0].study].at_s + model.AGAIN_S[0] for s in again)


def test_an_outage_holds_everything_back_and_loses_nothing(monday: list[Send]) -> None:
    held = after_outage(monday, (9.0, 11.0))
    assert not [s for s in held if 9 * HOUR <= s.at_s < 11 * HOUR]
    assert Counter(s.images for s in held) == Counter(s.images for s in monday)
    assert sum(s.at_s == 11 * HOUR for s in held) == sum(9 * HOUR <= s.at_s < 11 * HOUR for s in monday)
    assert [s.at_s for s in held] == sorted(s.at_s for s in held)


def test_casualties_are_more_studies_in_their_hours() -> None:
    usual = day(SITES["hospital"], 1)
    more = with_casualties(usual, 1)
    extra = {study: s for study, s in firsts(more).items() if study not in firsts(usual)}
    assert len(extra) == 276
    assert all(10 * HOUR <= s.at_s < 14 * HOUR for s in extra.values())


def test_a_window_holds_whole_studies() -> None:
    kind = Kind("CHEST", "CR", 10, 10, compressed=False)
    sends = [Send(HOUR - 1, (Image(0, 0, kind),)), Send(HOUR, (Image(1, 0, kind),))]
    sends += [Send(HOUR + 1, (Image(0, 1, kind),)), Send(2 * HOUR, (Image(1, 1, kind),))]
    assert between(sends, 1, 2) == [sends[1]]
