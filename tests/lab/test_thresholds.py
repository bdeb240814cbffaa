"""Thresholds region by region: what is certified, what is refused, and that a bundle carries both to the gate."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the lab needs scikit-learn: pip install 'dicom-node[lab]'")

from dicom_node.inference.manifest import RegionTable
from dicom_node.lab import calibrate, thresholds
from dicom_node.lab.thresholds import Held


def _held(seed: int = 1, groups: int = 40) -> Held:
    random = np.random.default_rng(seed)
    n = 1200
    labels = random.random(n) < 0.3
    p = np.where(labels, random.beta(5, 2, n), random.beta(1, 5, n))
    names = ("hand", "leg", "hip")
    regions = tuple((names[i % 2],) if i % 40 else ("hip", "leg") for i in range(n))
    return Held(p, labels, (np.arange(n) % groups).astype(str), regions)


def test_each_region_gets_the_bound_of_its_own_images() -> None:
    held = _held()
    found = thresholds.choose(held)
    by_name = {one.name: one for one in found.regions}
    assert set(by_name) == {"hand", "leg", "hip"}
    hand = held.showing("hand")
    wanted = calibrate.control_misses(held.p[hand], held.labels[hand], 0.10, 0.95, held.groups[hand])
    assert by_name["hand"].bound == wanted
    assert by_name["hand"].certified
    assert by_name["leg"].images + by_name["hand"].images == len(held.p)  # an image of two counts in both
    assert by_name["hip"].images == 30
    assert found.misses.certified
    assert found.p_low <= found.p_high


def test_a_region_of_few_fractures_is_refused_and_says_why() -> None:
    found = thresholds.choose(_held())
    hip = next(one for one in found.regions if one.name == "hip")
    assert hip.bound.positives < 29
    assert hip.p_low is None
    (gate,) = [one for one in found.region_gates if one.name == "hip"]
    assert gate.p_low is None
    table = next(one for one in thresholds.region_tables(found) if one["name"] == "hip")
    assert "p_low" not in table
    assert "Cannot certify" in table["bound"]["statement"]
    assert RegionTable(**table).p_low is None


def test_a_handful_of_groups_certifies_no_region() -> None:
    found = thresholds.choose(_held(groups=4))
    assert all(one.p_low is None for one in found.regions)


def test_no_body_part_belongs_to_two_regions() -> None:
    parts = [part for one in thresholds.BODY_PARTS.values() for part in one]
    assert len(parts) == len(set(parts))


def test_a_data_sets_regions_become_body_parts_without_overlap() -> None:
    mura = ("ELBOW", "FINGER", "FOREARM", "HAND", "HUMERUS", "SHOULDER", "WRIST")
    parts = [thresholds.body_parts(one, mura) for one in mura]
    flat = [part for one in parts for part in one]
    assert len(flat) == len(set(flat))
    assert thresholds.body_parts("HAND", mura) == ("HAND", "THUMB")
    assert thresholds.body_parts("hand", ("hand", "leg")) == thresholds.BODY_PARTS["hand"]
    assert thresholds.body_parts("chest", ("chest",)) == ()
    assert thresholds.stated_part(("leg",)) == "LEG"
    assert thresholds.stated_part(("leg", "hip")) == ""
