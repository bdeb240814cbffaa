"""The certified policy's thresholds from held-out probabilities: for all images, and region by region."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from dicom_node.core.decision import RegionGate
from dicom_node.lab import calibrate
from dicom_node.lab.dataset import REGIONS

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    from dicom_node.lab.calibrate import RiskBound

MISS_RATE: Final = 0.10
CONFIDENCE: Final = 0.95
_PRECISION: Final = 0.70
_LEAST_FLAGGED: Final = 40
_LEAST_GROUPS: Final = 5
#: The DICOM body parts (PS3.16 Annex L) that each of the data set's regions shows. A part that could be two of them,
#: and EXTREMITY, which many sites send for everything, belong to none: they get the strictest threshold.
BODY_PARTS: Final = {
    "hand": ("HAND", "FINGER", "THUMB", "WRIST", "FOREARM", "ELBOW"),
    "leg": ("LEG", "KNEE", "PATELLA", "ANKLE", "CALCANEUS", "FOOT", "TOE"),
    "hip": ("HIP",),
    "shoulder": ("SHOULDER", "CLAVICLE", "SCAPULA"),
}


#: Parts that may belong to two regions, or to any: in scope, but of no region.
OTHER_PARTS: Final = ("HUMERUS", "FEMUR", "EXTREMITY")
IN_SCOPE: Final = (*(part for parts in BODY_PARTS.values() for part in parts), *OTHER_PARTS)
"""Every body part that the data set shows."""


def body_parts(region: str, among: Collection[str]) -> tuple[str, ...]:
    """Return the body parts of a data set's region: those of a region here, or the part that it is itself, or none.

    among: the data set's regions. A part that is one of them itself (MURA's wrist) belongs to no wider one (its hand).
    """
    own, named = region.upper(), {one.upper() for one in among}
    wide = BODY_PARTS.get(region.lower(), (own,) if own in IN_SCOPE else ())
    return tuple(part for part in wide if part == own or part not in named)


def stated_part(regions: tuple[str, ...], among: Collection[str] = REGIONS) -> str:
    """Return a body part as an image of these regions would state it; one of several regions states none."""
    parts = body_parts(regions[0], among) if len(regions) == 1 else ()
    return parts[0] if parts else ""


@dataclass(frozen=True, slots=True)
class Held:
    """Held-out images, row for row: calibrated probability, label, group, and the regions that each shows."""

    p: NDArray[np.float64]
    labels: NDArray[np.bool_]
    groups: NDArray[np.str_]
    regions: tuple[tuple[str, ...], ...]

    def part(self, chosen: NDArray[np.bool_]) -> Held:
        """Return the chosen rows."""
        regions = tuple(one for one, kept in zip(self.regions, chosen, strict=True) if kept)
        return Held(self.p[chosen], self.labels[chosen], self.groups[chosen], regions)

    def showing(self, region: str) -> NDArray[np.bool_]:
        """Tell which images show a region; an image of two counts in both."""
        return np.array([region in one for one in self.regions], dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class RegionBound:
    """A region's bound, and whether its p_low may be used."""

    name: str
    images: int
    bound: RiskBound

    @property
    def certified(self) -> bool:
        """Tell whether the bound holds and rests on more than a handful of groups."""
        return self.bound.certified and self.bound.groups >= _LEAST_GROUPS

    @property
    def p_low(self) -> float | None:
        """Return the threshold, or None where it could not be certified."""
        return self.bound.threshold if self.certified else None


@dataclass(frozen=True, slots=True)
class Thresholds:
    """p_low with its bound, p_high, and the regions' own."""

    misses: RiskBound
    p_high: float
    regions: tuple[RegionBound, ...]

    @property
    def p_low(self) -> float:
        """Return the lower threshold for all images; 0, so that nothing is negative, where none could be certified."""
        return self.misses.threshold if self.misses.certified else 0.0

    @property
    def misses_statement(self) -> str:
        """Return what is certified about p_low of all images."""
        return statement(self.misses)

    @property
    def region_gates(self) -> tuple[RegionGate, ...]:
        """Return the regions as the gate takes them."""
        return tuple(RegionGate(one.name, BODY_PARTS[one.name], one.p_low) for one in self.regions)


def choose(held: Held, miss_rate: float = MISS_RATE) -> Thresholds:
    """Choose the thresholds: p_low by risk control on all images and on each region, p_high by its precision."""
    misses = calibrate.control_misses(held.p, held.labels, miss_rate, CONFIDENCE, held.groups)
    p_high, _ = calibrate.precision_threshold(held.p, held.labels, _PRECISION, _LEAST_FLAGGED)
    regions = []
    for name in REGIONS:
        shown = held.part(held.showing(name))
        if len(shown.p):
            bound = calibrate.control_misses(shown.p, shown.labels, miss_rate, CONFIDENCE, shown.groups)
            regions.append(RegionBound(name, len(shown.p), bound))
    return Thresholds(misses, max(p_high, misses.threshold), tuple(regions))


def bound_table(bound: RiskBound) -> dict[str, Any]:
    """Return a bound as a manifest holds it."""
    return {
        "fnr": bound.target if bound.certified else round(bound.reached, 4),
        "confidence": bound.confidence,
        "positives": bound.positives,
        "missed": bound.missed,
        "statement": statement(bound),
    }


def region_tables(thresholds: Thresholds) -> list[dict[str, Any]]:
    """Return the regions as a manifest holds them; one that could not be certified has no p_low."""
    tables = []
    for one in thresholds.regions:
        low = {} if one.p_low is None else {"p_low": one.p_low}
        parts = list(BODY_PARTS[one.name])
        tables.append({"name": one.name, "body_parts": parts, **low, "bound": bound_table(one.bound)})
    return tables


def statement(bound: RiskBound) -> str:
    """Return what is certified about a lower threshold, in one sentence."""
    if not bound.certified or 0 < bound.groups < _LEAST_GROUPS:
        return (
            f"Cannot certify a miss rate of {bound.target:.0%}: {bound.positives} fractures in {bound.groups} groups; "
            f"with no miss the exact upper bound would be {bound.reached:.1%} at {bound.confidence:.0%} confidence."
        )
    if bound.missed and bound.reached_by_group is not None:
        by_group = f"{bound.reached_by_group:.1%} when whole groups are drawn again"
    else:
        worst = calibrate.upper_bound(0, bound.groups, bound.confidence)
        by_group = f"{worst:.1%} if a group were one trial (no miss to draw again)"
    return (
        f"{bound.missed} of {bound.positives} held-out fractures ({bound.groups} groups) lie below p_low; upper bound "
        f"of the miss rate at {bound.confidence:.0%} confidence: {bound.reached:.1%} exactly (Clopper-Pearson) if "
        f"images were independent, {by_group}."
    )
