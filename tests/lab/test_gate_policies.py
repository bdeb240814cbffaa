"""Both policies: fitted on one half, proved on the other, bounded by group; and the command from a run to its page."""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

pytest.importorskip("torch", reason="the lab needs torch: pip install 'dicom-node[lab]'")
pytest.importorskip("sklearn", reason="the lab needs scikit-learn: pip install 'dicom-node[lab]'")

from dicom_node.lab import calibrate, gate_policies, gate_report, hybrid, selective
from dicom_node.lab.commands import gate as command
from dicom_node.lab.gate_grid import Rule
from dicom_node.lab.gate_policies import Cases, Compared, Limits
from dicom_node.lab.hybrid_run import MAPS, SCORES
from dicom_node.lab.runs import LabError

if TYPE_CHECKING:
    from pathlib import Path

LIMITS = Limits(miss_rate=0.10, alarm_rate=0.10)


def cases(patients: int = 400, seed: int = 3, quality: float = 2.5) -> Cases:
    """Two views a study, one study a patient; the map of a fracture is the wider one, as it was measured to be."""
    random = np.random.default_rng(seed)
    n = 2 * patients
    labels = np.repeat(random.random(patients) < 0.3, 2)
    groups = np.repeat([f"patient-{index}" for index in range(patients)], 2)
    z = quality * labels + random.normal(0, 1, n) - 1.0
    maps = random.normal(0, 1, (n, 7, 7)).astype(np.float32)
    maps[~labels] **= 3
    return Cases(
        labels,
        groups,
        np.char.add(groups, "/1"),
        np.where(labels | (z > 0), "hand", "wrist"),
        z,
        maps,
        np.ones((n, 7, 7), bool),
    )


def test_halves_are_whole_groups() -> None:
    fit, prove = gate_policies.halves(cases(), seed=1)
    assert not set(fit.groups.tolist()) & set(prove.groups.tolist())
    assert len(fit.labels) + len(prove.labels) == 800
    assert abs(fit.labels.mean() - prove.labels.mean()) < 0.05


def test_a_half_of_one_class_is_refused() -> None:
    found = cases(3)
    few = replace(
        found, labels=np.array([True, False, True, False, False, False]), groups=np.repeat(["a", "b", "c"], 2)
    )
    one_sided = replace(few, labels=np.array([True, True, False, False, False, False]))
    with pytest.raises(LabError, match="one class only"):
        gate_policies.halves(one_sided, seed=1)
    with pytest.raises(LabError, match="a gate needs two groups"):
        gate_policies.halves(replace(few, groups=np.repeat(["a"], 6)), seed=1)


def test_thresholds_hold_their_bounds_with_a_group_counting_once() -> None:
    fit, _ = gate_policies.halves(cases(), seed=1)
    found = gate_policies.certify(fit, LIMITS)
    groups = set(fit.groups[fit.labels].tolist())
    assert found.misses.positives == len(groups)
    p = found.platt.probability(fit.z)
    missed = {
        group for group, value, label in zip(fit.groups, p, fit.labels, strict=True) if label and value < found.p_low
    }
    assert len(missed) == found.misses.missed
    assert calibrate.upper_bound(len(missed), len(groups), 0.95) <= 0.10
    alarmed = {
        g for g, value, label in zip(fit.groups, p, fit.labels, strict=True) if not label and value >= found.p_high
    }
    assert calibrate.upper_bound(len(alarmed), len(set(fit.groups[~fit.labels].tolist())), 0.95) <= 0.10
    assert 0.0 < found.p_low < found.p_high < 1.0


def test_bounds_hold_on_new_patients_nearly_always() -> None:
    broken = 0
    for seed in range(20):
        fit, prove = gate_policies.halves(cases(300, seed=seed), seed=seed)
        found = gate_policies.certify(fit, LIMITS)
        low = found.platt.probability(prove.z) < found.p_low
        by_group = [low[prove.groups == group].any() for group in set(prove.groups[prove.labels].tolist())]
        broken += float(np.mean(by_group)) > 0.16  # a binomial's spread above the bound
    assert broken <= 2


def test_too_few_fractures_certify_nothing_and_nothing_is_negative() -> None:
    fit, prove = gate_policies.halves(cases(40), seed=1)
    found = gate_policies.certify(fit, Limits(0.05, 0.05))
    assert (found.p_low, found.misses.certified, found.alarms.certified) == (0.0, False, False)
    compared = {one.name: one.figures for one in gate_policies.compare(prove, found, Rule())}
    assert compared["certified"].negative == compared["certified"].positive == 0
    assert compared["certified"].inconclusive_rate == 1.0
    assert compared["certified"].precision is None


def test_a_region_with_too_few_fractures_is_named() -> None:
    fit, _ = gate_policies.halves(cases(), seed=1)
    found = gate_policies.certify(fit, LIMITS)
    assert set(found.by_region) == {"hand", "wrist"}
    assert found.by_region["hand"].certified
    assert found.by_region["wrist"].positives == 0
    assert not found.by_region["wrist"].certified
    both = replace(fit, regions=np.where(fit.regions == "hand", "hand+leg", fit.regions))
    several = gate_policies.certify(both, LIMITS).by_region
    assert set(several) == {"hand", "leg", "wrist"}
    assert several["hand"] == several["leg"] == found.by_region["hand"]


def test_the_focused_map_rule_abstains_on_the_likelier_cases_here() -> None:
    fit, prove = gate_policies.halves(cases(), seed=1)
    compared = {
        one.name: one for one in gate_policies.compare(prove, gate_policies.certify(fit, LIMITS), Rule(entropy_max=2.8))
    }
    published = compared["localisation, chosen cell"]
    assert published.figures.ppv_accepted is not None
    assert published.figures.ppv_abstained is not None
    assert published.figures.ppv_accepted < published.figures.ppv_abstained
    assert published.ppv_probability_alone is not None
    assert published.ppv_probability_alone > published.figures.ppv_accepted
    probability_only = compared["certified, probability only"].figures
    assert compared["certified"].figures.positive < probability_only.positive  # peaks on the border are no positives
    assert compared["certified"].figures.negative == probability_only.negative


def test_studies_take_their_worst_view_and_are_calibrated_as_studies() -> None:
    fit, prove = gate_policies.halves(cases(), seed=1)
    certified = gate_policies.certify(fit, LIMITS)
    found = gate_policies.studies(fit, prove, certified)
    assert found.studies == len(set(prove.studies.tolist()))
    assert found.views == 2 * found.studies
    assert found.figures.positive + found.figures.negative + found.figures.inconclusive == found.studies
    assert found.auc is not None
    assert found.auc > 0.95
    assert found.brier_calibrated < found.brier
    p = certified.platt.probability(prove.z)
    quiet = {study for study in prove.studies.tolist() if (p[prove.studies == study] < certified.p_low).all()}
    assert found.figures.negative == len(quiet)


def _compared(name: str, codes: list[int], labels: list[bool]) -> Compared:
    return Compared(name, selective.counted(np.array(codes), np.array(labels)), None)


def test_certified_is_the_default_unless_the_other_is_plainly_better() -> None:
    labels = [True, True, False, False]
    certified = _compared("certified", [1, 2, 0, 0], labels)
    assert (
        gate_report.better([certified, _compared("localisation, chosen cell", [1, 1, 0, 0], labels)]) == "localisation"
    )
    assert gate_report.better([certified, _compared("localisation, chosen cell", [1, 1, 1, 0], labels)]) == "certified"
    assert gate_report.better([certified, _compared("localisation, chosen cell", [1, 0, 0, 0], labels)]) == "certified"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    found = cases()
    folder = tmp_path / "run"
    folder.mkdir()
    z = found.maps.sum((1, 2), dtype=np.float64) + 0.25
    offset = (found.z - z).astype(np.float32)  # maps that sum to these scores
    maps = found.maps + (offset / 49)[:, None, None]
    z = maps.sum((1, 2), dtype=np.float64) + 0.25
    with (folder / SCORES).open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["image", "label", "group", "study", "region", "z", "p"])
        for index in range(len(z)):
            facts = [
                f"{index}.png",
                int(found.labels[index]),
                found.groups[index],
                found.studies[index],
                found.regions[index],
            ]
            writer.writerow([*facts, repr(float(z[index])), hybrid.sigmoid(z[index])])
    np.savez(folder / MAPS, maps=maps, body=found.body, bias=np.float64(0.25))
    return folder


def _arguments(run: Path, *more: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(["--run", str(run), "--miss-rate", "0.1", *more])


def test_command_writes_grid_figures_and_page(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.run(_arguments(run, "--inconclusive-max", "0.9")) == 0
    out = run / "gate"
    with (out / "grid.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == 625
    assert float(rows[0]["coverage"]) + float(rows[0]["inconclusive_rate"]) == pytest.approx(1.0)
    found = json.loads((out / "metrics.json").read_text())
    assert found["grid"]["images"] == 500
    assert found["images"]["scored"] == 800 == found["images"]["fitted_on"] + found["images"]["proved_on"]
    assert found["certified"]["cannot_certify"] == ["wrist"]
    names = {path.name for path in (out / "pictures").iterdir()}
    assert {"coverage-accuracy.png", "risk-coverage.png", "reliability.png", "outcomes-3-certified.png"} <= names
    page = (out / "report.html").read_text()
    for words in ("The published grid", "cannot certify: inconclusive only", "no group is on both sides"):
        assert words in page
    said = capsys.readouterr().out
    assert "cannot certify: wrist" in said
    assert "default policy: certified" in said
    before = (out / "metrics.json").read_bytes()
    assert command.run(_arguments(run, "--inconclusive-max", "0.9")) == 0
    assert (out / "metrics.json").read_bytes() == before


def test_a_folder_without_scores_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="give the folder of a finished `lab train`"):
        command.run(_arguments(tmp_path))
