"""The gate's run: the published grid, both policies on held-out groups, regions and studies, as files and one page."""

from __future__ import annotations

import csv
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from dicom_node.lab import evaluation_measures as measures
from dicom_node.lab import figures, gate_grid, gate_policies, hybrid, metrics, selective
from dicom_node.lab.gate_grid import Cell, Rule
from dicom_node.lab.hybrid_run import shown
from dicom_node.lab.runs import Section

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dicom_node.lab.calibrate import RiskBound
    from dicom_node.lab.gate_policies import Cases, Certified, Compared, Limits, Studies
    from dicom_node.lab.runs import RunFolder

_SHOWN = (
    "positive",
    "negative",
    "inconclusive",
    "inconclusive_rate",
    "coverage",
    "accuracy",
    "precision",
    "recall",
    "f1",
    "found",
    "missed",
    "npv",
    "ppv_accepted",
    "ppv_abstained",
)


def make(run: RunFolder, cases: Cases, limits: Limits, first: int, seed: int) -> dict[str, Any]:
    """Fit, prove, draw and write; first: how many validation images the published grid looks at (0: all)."""
    head = cases.part(np.arange(len(cases.labels)) < (first or len(cases.labels)))
    cells = gate_grid.grid(hybrid.sigmoid(head.z), head.maps, head.labels)
    _write_grid(run.path / "grid.csv", cells)
    fit, prove = gate_policies.halves(cases, seed)
    chosen = gate_policies.choose_cell(fit, limits)
    certified = gate_policies.certify(fit, limits)
    compared = gate_policies.compare(prove, certified, chosen.rule)
    by_study = gate_policies.studies(fit, prove, certified)
    found = {
        "images": {"scored": len(cases.labels), "fitted_on": len(fit.labels), "proved_on": len(prove.labels)},
        "grid": {
            "images": len(head.labels),
            "cells": len(cells),
            "published_defaults": _published(head),
            "most_accurate": asdict(gate_grid.most_accurate(cells)),
        },
        "chosen_cell": {"rule": asdict(chosen.rule), "fitted": asdict(chosen.figures)},
        "certified": {**asdict(certified), "cannot_certify": _refused(certified)},
        "policies": [asdict(one) for one in compared],
        "default_policy": better(compared),
        "studies": asdict(by_study),
        "probability": _selective(prove, certified),
    }
    run.save_metrics(found)
    chosen_here = next(cell for cell in cells if cell.rule == chosen.rule)
    pictures = {
        "grid": [_draw_grid(run, cells, chosen_here)],
        "policies": _draw(run, compared, prove, certified),
    }
    run.write_report("Gate: three outcomes", _page(found, (fit, prove), certified, (compared, by_study), pictures))
    return found


def better(compared: Sequence[Compared]) -> str:
    """Return the policy that a bundle should default to: certified, unless the other is better on the proving half.

    Better is: no more fractures called negative, and a higher share of fractures found, and a higher precision.
    """
    by_name = {one.name: one.figures for one in compared}
    ours, theirs = by_name["certified"], by_name["localisation, chosen cell"]
    wins = (
        (theirs.missed or 0.0) <= (ours.missed or 0.0)
        and (theirs.found or 0.0) > (ours.found or 0.0)
        and (theirs.precision or 0.0) >= (ours.precision or 0.0)
    )
    return "localisation" if wins else "certified"


def _published(cases: Cases) -> dict[str, Any]:
    rule = Rule()
    codes = gate_grid.decide(hybrid.sigmoid(cases.z), gate_grid.focus(cases.maps, (rule.alpha,)), rule)
    return {"rule": asdict(rule), "figures": asdict(selective.counted(codes, cases.labels))}


def _refused(certified: Certified) -> list[str]:
    whole = {"all regions, p_low": certified.misses, "all regions, p_high": certified.alarms}
    return [name for name, bound in {**whole, **certified.by_region}.items() if not bound.certified]


def _selective(prove: Cases, certified: Certified) -> dict[str, Any]:
    p = certified.platt.probability(prove.z)
    confidence, loss = selective.likelier(prove.labels, p)
    return {
        "roc_auc": metrics.auc(prove.labels, prove.z),
        "brier": metrics.brier(prove.labels, p),
        "calibration_error": metrics.calibration_error(prove.labels, p),
        "aurc": selective.aurc(confidence, loss),
        "augrc": selective.augrc(confidence, loss),
    }


def _write_grid(path: Path, cells: Sequence[Cell]) -> None:
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        names = (*_SHOWN, "overall_accuracy")
        writer.writerow(["p_low", "entropy_max", "area_max", "alpha", *names])
        for cell in cells:
            rule = cell.rule
            values = [getattr(cell.figures, name) for name in names]
            writer.writerow([rule.p_low, rule.entropy_max, rule.area_max, rule.alpha, *values])


def _draw_grid(run: RunFolder, cells: Sequence[Cell], chosen: Cell) -> Path:
    best = {"most accurate cell": gate_grid.most_accurate(cells).figures}
    return figures.coverage_accuracy(run.picture("coverage-accuracy"), cells, chosen.figures, best)


def _draw(run: RunFolder, compared: Sequence[Compared], prove: Cases, certified: Certified) -> list[Path]:
    p = certified.platt.probability(prove.z)
    confidence, loss = selective.likelier(prove.labels, p)
    entropy = gate_grid.focus(prove.maps, (gate_policies.ALPHA,)).entropy
    curves = {
        "probability": selective.risk_coverage(confidence, loss),
        "focus of the map": selective.risk_coverage(-entropy, loss),
    }
    return [
        figures.risk_coverage(run.picture("risk-coverage"), curves),
        figures.reliability(run.picture("reliability"), {"Platt": measures.reliability(prove.labels, p)}),
        *(_confusion(run, number, one) for number, one in enumerate(compared, 1)),
    ]


def _confusion(run: RunFolder, number: int, one: Compared) -> Path:
    name = one.name.replace(",", "").replace(" ", "-")
    did = one.figures
    hit = round((did.found or 0.0) * did.fractured)
    missed = round((did.missed or 0.0) * did.fractured)
    between = did.fractured - hit - missed
    counts = [
        [did.negative - missed, did.inconclusive - between, did.positive - hit],
        [missed, between, hit],
    ]
    columns = ["negative", "inconclusive", "positive"]
    return figures.confusion(run.picture(f"outcomes-{number}-{name}"), one.name.capitalize(), counts, columns)


def _page(
    found: dict[str, Any],
    halves: tuple[Cases, Cases],
    certified: Certified,
    proved: tuple[Sequence[Compared], Studies],
    pictures: dict[str, list[Path]],
) -> list[Section]:
    compared, by_study = proved
    fit, prove = halves
    best, rule = found["grid"]["most_accurate"], found["chosen_cell"]["rule"]
    alone = [one.ppv_probability_alone for one in compared]
    table: list[list[object]] = [["on the proving half", *(one.name for one in compared)]]
    table += [[_words(name), *(shown(getattr(one.figures, name)) for one in compared)] for name in _SHOWN]
    table.append(["ppv of as many by probability alone", *(shown(one) for one in alone)])
    return [
        Section(
            "Images",
            f"{found['images']['scored']} scored = {len(fit.labels)} to fit on + {len(prove.labels)} to prove on; "
            "no group is on both sides.",
        ),
        Section(
            "The published grid",
            f"{found['grid']['cells']} cells on the first {found['grid']['images']} validation images, as published. "
            f"Most accurate: {_rule(best['rule'])}, accuracy {shown(best['figures']['accuracy'])} at "
            f"{shown(best['figures']['inconclusive_rate'])} inconclusive.",
            pictures=pictures["grid"],
        ),
        Section(
            "Policies",
            f"Chosen cell (best F2 over all fractures on the fitting half): {_rule(rule)}. Default for a bundle: "
            f"{found['default_policy']}. Precision, recall, accuracy and F1 are over the decided cases.",
            table,
            pictures["policies"],
        ),
        Section(
            "Certified thresholds",
            "Exact binomial bounds on the fitting half, a group counting once.",
            _bounds(certified),
        ),
        Section("Studies", "Views made into studies by the node's own aggregate.", _study_table(by_study)),
    ]


def _words(name: str) -> str:
    return name.replace("_", " ")


def _rule(rule: dict[str, Any]) -> str:
    area = "no bound on the area" if rule["area_max"] is None else f"area at most {rule['area_max']}"
    return f"p_low {rule['p_low']}, entropy at most {rule['entropy_max']}, {area}, alpha {rule['alpha']}"


def _bounds(certified: Certified) -> list[list[object]]:
    rows: list[list[object]] = [["threshold", "value", "asked", "proved", "confidence", "groups", "beyond it"]]
    named: list[tuple[str, float, RiskBound]] = [
        ("p_low, all regions (fractures called negative)", certified.p_low, certified.misses),
        ("p_high, all regions (others called positive)", certified.p_high, certified.alarms),
    ]
    named += [(f"p_low, {region}", bound.threshold, bound) for region, bound in certified.by_region.items()]
    for name, value, bound in named:
        text = f"{value:.4f}" if bound.certified else "cannot certify: inconclusive only"
        proved = f"at most {bound.reached:.3f}"
        rows.append([name, text, f"at most {bound.target}", proved, bound.confidence, bound.positives, bound.missed])
    return rows


def _study_table(one: Studies) -> list[list[object]]:
    rows: list[list[object]] = [["figure", "value"]]
    rows += [[_words(name), shown(getattr(one, name))] for name in one.__slots__ if name != "figures"]
    rows += [[_words(name), shown(getattr(one.figures, name))] for name in _SHOWN]
    return rows
