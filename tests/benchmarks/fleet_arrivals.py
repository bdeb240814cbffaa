"""When a hospital or a region sends what: a non-homogeneous Poisson process with its bursts, drawn from a seed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from tests.benchmarks import fleet_sources as model

HOUR_S = 3600.0
DAYS_A_YEAR, DAYS_A_WEEK = 365.0, 7
DOCUMENT = "DOCUMENT"
T = TypeVar("T")


@dataclass(frozen=True)
class Site:
    """Hospitals that share a node."""

    name: str
    hospitals: float
    beds_each: int = 1000

    @property
    def studies_a_day(self) -> float:
        """Studies on a mean day."""
        return self.hospitals * self.beds_each * model.EXAMINATIONS_PER_BED_YEAR / DAYS_A_YEAR


SITES = {"hospital": Site("hospital", 1), "region": Site("region", 10)}


@dataclass(frozen=True)
class Kind:
    """What an image is to the node: its body region (or DOCUMENT), modality, matrix and encoding."""

    region: str
    modality: str
    rows: int
    columns: int
    compressed: bool

    @property
    def megabytes(self) -> float:
        """Size on the wire."""
        return self.rows * self.columns * 2e-6 / (model.COMPRESSION if self.compressed else 1.0)

    @property
    def is_radiograph(self) -> bool:
        """Tell whether the node is to look at it."""
        return self.region != DOCUMENT


@dataclass(frozen=True)
class Image:
    """One instance: its study and its number there, both counted from nought."""

    study: int
    number: int
    kind: Kind


@dataclass(frozen=True)
class Send:
    """What comes on one association at one moment (seconds after midnight); again: the bytes were sent before."""

    at_s: float
    images: tuple[Image, ...]
    again: bool = False


def rates(source: str, weekday: int) -> tuple[float, ...]:
    """Return the share of a mean day's studies in each hour of a weekday (0: Monday), for one source."""
    hours, days = model.HOURS[source], model.WEEKDAYS[source]
    factor = model.SOURCE_SHARES[source] * DAYS_A_WEEK * days[weekday] / sum(days) / sum(hours)
    return tuple(hour * factor for hour in hours)


def day(site: Site, seed: int, weekday: int = 0) -> list[Send]:
    """Draw a day, midnight to midnight, in the order of sending; a late view may come after midnight."""
    # Streams apart, so that a seed's busy hours are the same however many hospitals there are.
    rng, noise = np.random.default_rng(seed), np.random.default_rng([seed, 2])
    drawn = Drawer(rng)
    for source in model.SOURCE_SHARES:
        for hour, share in enumerate(rates(source, weekday)):
            factor = noise.gamma(1.0 / model.HOUR_NOISE**2, model.HOUR_NOISE**2)
            for moment in rng.uniform(0.0, HOUR_S, rng.poisson(site.studies_a_day * share * factor)):
                drawn.examination(hour * HOUR_S + float(moment))
    return _ordered(drawn.sends)


def with_casualties(sends: list[Send], seed: int, people: int = model.CASUALTIES) -> list[Send]:
    """Add the examinations of a mass casualty: most of them early in its hours."""
    rng = np.random.default_rng([seed, 1])
    drawn = Drawer(rng, studies=1 + max((i.study for s in sends for i in s.images), default=-1))
    start, length = model.CASUALTY_HOURS
    for share in rng.beta(2.0, 4.0, round(people * model.EXAMINATIONS_PER_CASUALTY)):
        drawn.examination((start + length * float(share)) * HOUR_S, "EXTREMITY" if rng.random() < 2 / 3 else "CHEST")
    return _ordered([*sends, *drawn.sends])


def after_outage(sends: list[Send], hours: tuple[float, float] = model.OUTAGE_HOURS) -> list[Send]:
    """Hold back what falls into an outage of the PACS, and release it in its order when that ends."""
    start, end = (hour * HOUR_S for hour in hours)
    return _ordered(replace(send, at_s=end) if start <= send.at_s < end else send for send in sends)


def between(sends: list[Send], start_h: float, end_h: float) -> list[Send]:
    """Return what is sent in a window, whole studies only: those whose first image is in it."""
    first: dict[int, float] = {}
    for send in sends:
        for image in send.images:
            first.setdefault(image.study, send.at_s)
    start, end = start_h * HOUR_S, end_h * HOUR_S
    return [s for s in sends if start <= s.at_s < end and s.images and start <= first[s.images[0].study] < end]


class Drawer:
    """Draws examinations, and numbers them."""

    def __init__(self, rng: np.random.Generator, studies: int = 0) -> None:
        self._rng = rng
        self._studies = studies
        self.sends: list[Send] = []

    def examination(self, at_s: float, region: str = "") -> None:
        """Draw one that ends (or begins to be sent) at a moment."""
        rng, study = self._rng, self._studies
        self._studies += 1
        region = region or _one_of(rng, model.REGION_SHARES)
        views = tuple(Image(study, n, self._kind(region)) for n in range(_one_of(rng, model.VIEWS[region])))
        last_s = self._views(at_s, views)
        if rng.random() < model.DOCUMENT_SHARE:
            page = Image(study, len(views), Kind(DOCUMENT, "OT", *model.DOCUMENT_MATRIX, compressed=False))
            self.sends.append(Send(last_s, (page,)))
        if rng.random() < model.LATE_SHARE:
            late = Image(study, len(views) + 1, self._kind(region))
            self.sends.append(Send(last_s + rng.uniform(*model.LATE_S), (late,)))
        if rng.random() < model.AGAIN_SHARE:
            self.sends.append(Send(last_s + rng.uniform(*model.AGAIN_S), views, again=True))

    def _views(self, at_s: float, views: tuple[Image, ...]) -> float:
        """Send the views at once or one by one; returns when the last one goes."""
        if self._rng.random() < model.AT_ONCE_SHARE:
            self.sends.append(Send(at_s, views))
            return at_s
        for image in views:
            if image.number:
                at_s += model.GAP_MEDIAN_S * float(self._rng.lognormal(0.0, model.GAP_SIGMA))
            self.sends.append(Send(at_s, (image,)))
        return at_s

    def _kind(self, region: str) -> Kind:
        table = {row[:3]: row[3] for row in model.MATRICES[region]}
        modality, rows, columns = _one_of(self._rng, table)
        return Kind(region, modality, rows, columns, compressed=bool(self._rng.random() < model.COMPRESSED_SHARE))


def _one_of(rng: np.random.Generator, shares: Mapping[T, float]) -> T:
    """Return one of the keys, each as often as its share says."""
    keys, weights = list(shares), np.cumsum(list(shares.values()))
    return keys[min(int(np.searchsorted(weights, rng.random() * weights[-1], side="right")), len(keys) - 1)]


def _ordered(sends: Iterable[Send]) -> list[Send]:
    return sorted(sends, key=lambda send: send.at_s)
