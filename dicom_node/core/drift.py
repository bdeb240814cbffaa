"""How far a distribution of scores has moved: the population stability index."""

from __future__ import annotations

from bisect import bisect_right
from math import log
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_BINS = 10
_FLOOR = 1e-4  # an empty bin would make the index infinite


def stability_index(reference: Sequence[float], recent: Sequence[float]) -> float:
    """Return the population stability index of `recent` against `reference`, over the reference's deciles.

    0: the same; above 0.25 is usually called a shift (Siddiqi, Credit Risk Scorecards, 2006). Both must hold a score.
    """
    if not reference or not recent:
        message = "a stability index needs scores on both sides"
        raise ValueError(message)
    ordered = sorted(reference)
    edges = sorted({ordered[len(ordered) * step // _BINS] for step in range(1, _BINS)})
    pairs = zip(_shares(reference, edges), _shares(recent, edges), strict=True)
    return sum((now - before) * log(now / before) for before, now in pairs)


def _shares(scores: Sequence[float], edges: list[float]) -> list[float]:
    counts = [0] * (len(edges) + 1)
    for score in scores:
        counts[bisect_right(edges, score)] += 1
    return [max(count / len(scores), _FLOOR) for count in counts]
