"""A gate run's thresholds as the serving gate takes them: converted where that is exact, counted where it is not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from dicom_node.core.decision import Gate, Policy, RegionGate, decide_view
from dicom_node.core.findings import Outcome
from dicom_node.core.localisation import measure
from dicom_node.lab import gate_grid, gate_policies, hybrid, selective, thresholds
from dicom_node.lab.calibrate import Platt
from dicom_node.lab.runs import LabError, read_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicom_node.core.localisation import MapMeasures
    from dicom_node.lab.gate_policies import Cases
    from dicom_node.lab.selective import ThreeOutcomes

POLICIES: Final = tuple(policy.value for policy in Policy)
_CODES: Final = (Outcome.NEGATIVE, Outcome.POSITIVE, Outcome.INCONCLUSIVE)


@dataclass(frozen=True, slots=True)
class GateRun:
    """A finished `lab gate`: its configuration and its metrics."""

    config: dict[str, Any]
    metrics: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Served:
    """The gate of a bundle, and what is known of it.

    platt: p = sigmoid(a z + d). bound: the manifest's table, None where the policy proves none. regions: the manifest's
    tables of the regions, one that could not be certified without a p_low. words: the thresholds in a sentence or two.
    figures: what this very gate does on the half of the validation that proves. otherwise: images of the whole
    validation that it decides otherwise than the gate run's rule, of `images`.
    """

    gate: Gate
    platt: Platt
    bound: dict[str, Any] | None
    regions: list[dict[str, Any]]
    words: str
    figures: ThreeOutcomes
    otherwise: int
    images: int


def read(folder: Path, scores_sha256: str) -> GateRun:
    """Return a gate run; raises LabError where it is none, or was made from other scores than these."""
    config = read_json(folder / "config.json")
    if config.get("command") != "gate":
        message = f"{folder}: is not the folder of a finished `dicom-node lab gate` run"
        raise LabError(message)
    if config.get("scores_sha256") != scores_sha256:
        message = f"{folder}: was made from other scores than the run's; run `dicom-node lab gate` again"
        raise LabError(message)
    return GateRun(config, read_json(folder / "metrics.json"))


def serve(run: GateRun, cases: Cases, policy: str, differing: float) -> Served:
    """Return the gate that a bundle carries; policy: one of POLICIES, or "" for the gate run's default.

    differing: the share of the validation images that may be decided otherwise than by the published rule. Raises
    LabError where the serving gate cannot do what the gate run found.
    """
    try:
        chosen = policy or run.metrics["default_policy"]
        table = run.metrics["certified"]["platt"]
        platt = Platt(table["a"], table["d"])
        if platt.a <= 0.0:
            message = "the scores rank no better than chance (Platt's slope is not above 0): nothing to export"
            raise LabError(message)
        if Policy(chosen) is Policy.CERTIFIED:
            return _certified(run, cases, platt)
        return _localisation(run, cases, platt, differing)
    except (KeyError, TypeError) as error:
        message = f"the gate run's metrics.json lacks {error}; run `dicom-node lab gate` again with this version"
        raise LabError(message) from None


def _certified(run: GateRun, cases: Cases, platt: Platt) -> Served:
    found = run.metrics["certified"]
    p_low, p_high = float(found["p_low"]), float(found["p_high"])
    if p_high > 1.0:
        alarms = found["alarms"]
        message = (
            f"p_high cannot be certified ({alarms['positives']} groups without a fracture are too few for alarms of at "
            f"most {alarms['target']:g}), so nothing could be called positive: loosen --alarm-rate of `lab gate`, "
            "or export --policy localisation"
        )
        raise LabError(message)
    outside = float(found["out_of_body_max"])
    regions = _regions(found["by_region"])
    gate = Gate(
        Policy.CERTIFIED,
        p_low,
        p_high,
        gate_policies.ALPHA,
        1.0,
        1.0,
        outside,
        gate_policies.DISAGREEMENT,
        tuple(RegionGate(one["name"], tuple(one["body_parts"]), one.get("p_low")) for one in regions),
    )
    misses = found["misses"]
    bound = _bound(misses)
    words = (
        f"Negative below {p_low:.4f}, positive from {p_high:.4f} where the map's peak lies on the body and off the "
        f"border, inconclusive between. {bound['statement']}"
    )
    return Served(gate, platt, bound, regions, words, _figures(run, cases, gate, platt), 0, len(cases.labels))


def _regions(by_region: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the manifest's tables of the regions that name DICOM body parts; another name says nothing to a node."""
    tables = []
    for name, misses in by_region.items():
        parts = thresholds.body_parts(name, by_region)
        if parts:
            certified = misses["reached"] <= misses["target"]
            low = {"p_low": float(misses["threshold"])} if certified else {}
            tables.append({"name": name, "body_parts": list(parts), **low, "bound": _bound(misses)})
    return tables


def _bound(misses: dict[str, Any]) -> dict[str, Any]:
    certified = misses["reached"] <= misses["target"]
    head = (
        f"{misses['missed']} of {misses['positives']} groups with a fracture, each taken by its least likely image, "
        f"lie below p_low; exact binomial (Clopper-Pearson) upper bound of the miss rate by group "
        f"{misses['reached']:.1%} at {misses['confidence']:.0%} confidence, on the half of the validation groups that "
        "fitted."
    )
    tail = "" if certified else f" More than the {misses['target']:.0%} asked for: nothing is called negative."
    return {
        "fnr": misses["target"] if certified else round(misses["reached"], 4),
        "confidence": misses["confidence"],
        "positives": misses["positives"],
        "missed": misses["missed"],
        "statement": head + tail,
    }


def _localisation(run: GateRun, cases: Cases, platt: Platt, differing: float) -> Served:
    rule = gate_grid.Rule(**run.metrics["chosen_cell"]["rule"])
    rows, columns = cases.maps.shape[1:]
    gate = converted(rule, platt, rows * columns)
    measures = _measured(cases, gate)
    published = gate_grid.decide(hybrid.sigmoid(cases.z), gate_grid.focus(cases.maps, (rule.alpha,)), rule)
    other = _codes(cases, gate, platt) != published
    count, n = int(other.sum()), len(other)
    if count > differing * n:
        message = (
            f"the serving gate decides {count} of {n} validation images otherwise than the published rule "
            f"({_why(other, measures)}): export --policy certified, or allow it with --differing {_share_up(count, n)}"
        )
        raise LabError(message)
    area = "any area" if rule.area_max is None else f"area at most {rule.area_max:g}"
    words = (
        f"The published two-step rule: negative below {rule.p_low:g} on the network's own probability (calibrated: "
        f"{gate.p_low:.4f}), else positive where the map is focused (entropy at most {rule.entropy_max:g} nats of "
        f"ln {rows * columns}, which is {gate.entropy_max:.4f}; {area} above {rule.alpha:g} of the maximum), else "
        f"inconclusive. No bound is proved. The node measures maps over the body's cells and trusts no peak on the "
        f"border: it decides {count} of {n} validation images otherwise than the published rule."
    )
    return Served(gate, platt, None, [], words, _figures(run, cases, gate, platt), count, n)


def converted(rule: gate_grid.Rule, platt: Platt, cells: int) -> Gate:
    """Return the published rule in the serving gate's own measures, for maps of so many cells.

    Exact: p_low through Platt's scaling (it keeps the order), entropy in nats over ln(cells), no bound on the area as a
    bound of 1, and alpha. p_high plays no part in this policy and repeats p_low.
    """
    z = math.log(rule.p_low / (1.0 - rule.p_low))
    p_low = float(hybrid.sigmoid(np.array([platt.a * z + platt.d]))[0])
    entropy = min(1.0, rule.entropy_max / math.log(cells))
    area = 1.0 if rule.area_max is None else rule.area_max
    return Gate(Policy.LOCALISATION, p_low, p_low, rule.alpha, entropy, area, 1.0, gate_policies.DISAGREEMENT)


def _measured(cases: Cases, gate: Gate) -> list[MapMeasures]:
    return [measure(plane, body, gate.alpha) for plane, body in zip(cases.maps, cases.body, strict=True)]


def _outcomes(cases: Cases, gate: Gate, platt: Platt) -> list[Outcome]:
    p = hybrid.sigmoid(platt.a * cases.z + platt.d).tolist()
    shown = [tuple(name.split("+")) for name in cases.regions.tolist()]
    among = {one for regions in shown for one in regions}
    parts = [thresholds.stated_part(regions, among) for regions in shown]
    found = zip(p, _measured(cases, gate), parts, strict=True)
    return [decide_view(one, measures, gate, part)[0] for one, measures, part in found]


def _codes(cases: Cases, gate: Gate, platt: Platt) -> NDArray[np.int64]:
    return np.array([_CODES.index(outcome) for outcome in _outcomes(cases, gate, platt)], dtype=np.int64)


def _figures(run: GateRun, cases: Cases, gate: Gate, platt: Platt) -> ThreeOutcomes:
    _, prove = gate_policies.halves(cases, int(run.config["seed"]))
    return selective.three_outcomes(_outcomes(prove, gate, platt), prove.labels)


def _why(other: NDArray[np.bool_], measures: list[MapMeasures]) -> str:
    concerned = [one for one, is_other in zip(measures, other.tolist(), strict=True) if is_other]
    border = sum(one.on_border and one.complete for one in concerned)
    empty = sum(not one.complete for one in concerned)
    rest = len(concerned) - border - empty
    return f"{border} peak on the map's border, {empty} without evidence on the body, {rest} measured on the body alone"


def _share_up(count: int, n: int) -> float:
    return math.ceil(count / n * 1000) / 1000
