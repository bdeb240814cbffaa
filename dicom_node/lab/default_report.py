"""The report of the default model's training: pictures, metrics.json and report.html in its run folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dicom_node.core.radiograph import EvidenceMap
from dicom_node.inference.preprocess import LCN_LETTERBOX_512, prepare
from dicom_node.lab import card, case_pictures, figures, localise, selective
from dicom_node.lab import evaluation_measures as measures
from dicom_node.lab.cache import CELLS, read_grey
from dicom_node.lab.case_pictures import Look, Marks, Scored
from dicom_node.lab.runs import Section, jsonable

if TYPE_CHECKING:
    from pathlib import Path

    from dicom_node.lab.evaluate import Evaluation, Proved, Scores
    from dicom_node.lab.experiment import Material
    from dicom_node.lab.runs import RunFolder

_SAID = ("negative", "inconclusive", "positive")
_CODES = (selective.NEGATIVE, selective.INCONCLUSIVE, selective.POSITIVE)
_WORDS = (
    "Each image was scored by a model that saw no image of its group. Probabilities and outcomes come from a "
    "calibration and thresholds that were fitted on the other half of the groups."
)


def write(run: RunFolder, data: Path, material: Material, measured: tuple[Evaluation, Scores, Proved]) -> None:
    """Draw the pictures and write metrics.json and report.html."""
    evaluation, scores, proved = measured
    counts = material.counts
    run.save_metrics({"counts": counts, "evaluation": evaluation})
    excluded = ", ".join(f"{code} {number}" for code, number in counts.excluded.items()) or "none"
    table = [["listed", "scored", "excluded", "unreadable", "groups"]]
    row = [counts.listed, counts.scored, sum(counts.excluded.values()), counts.failed, evaluation.groups]
    found: dict[str, Any] = jsonable(evaluation)
    sections = [
        Section("Images", f"listed = scored + excluded + unreadable. Excluded: {excluded}.", [*table, row]),
        Section("What was aimed at", _WORDS, card.aims(found)),
        Section("Held-out figures", "", _parts(evaluation), _curves(run, scores, proved)),
        Section("Thresholds", evaluation.fitted.thresholds.misses_statement, _thresholds(evaluation)),
        Section("Outcomes, view by view", "", _policies(evaluation), _outcomes(run, scores, proved)),
        _cases(run, data, material, measured),
    ]
    run.write_report("Default model: held-out figures", sections)


def _curves(run: RunFolder, scores: Scores, proved: Proved) -> list[Path]:
    labels = scores.held.labels
    curves = {"model": scores.z, "shortcuts alone": scores.shortcut}
    bins = {"Platt, cross-fitted": measures.reliability(labels, proved.p)}
    curve = selective.risk_coverage(*selective.likelier(labels, proved.p))
    return [
        figures.roc(run.picture("roc"), labels, curves),
        figures.precision_recall(run.picture("precision-recall"), labels, curves),
        figures.reliability(run.picture("reliability"), bins),
        figures.risk_coverage(run.picture("risk-coverage"), {"model": curve}),
    ]


def _parts(evaluation: Evaluation) -> list[list[object]]:
    rows: list[list[object]] = [["part", "images", "fractured", "AUC"]]
    rows.append(["all", evaluation.images, evaluation.fractured, evaluation.auc])
    rows += [[one.name, one.images, one.fractured, one.auc] for one in evaluation.subgroups]
    hardware, fractured = evaluation.hardware
    rest = (evaluation.images - hardware, evaluation.fractured - fractured)
    rows.append(["without hardware", *rest, evaluation.auc_without_hardware])
    rows.append(["shortcuts alone, no anatomy", evaluation.images, evaluation.fractured, evaluation.shortcut_auc])
    return rows


def _thresholds(evaluation: Evaluation) -> list[list[object]]:
    rows: list[list[object]] = [["region", "images", "fractures", "groups", "p_low", "below it", "bound", "by group"]]
    for one in evaluation.fitted.thresholds.regions:
        bound = one.bound
        low = f"{one.p_low:.4f}" if one.p_low is not None else "cannot certify"
        counts = [one.name, one.images, bound.positives, bound.groups]
        rows.append([*counts, low, bound.missed, bound.reached, bound.reached_by_group])
    return rows


def _policies(evaluation: Evaluation) -> list[list[object]]:
    names = ("coverage", "accuracy", "ppv_accepted", "ppv_abstained", "found", "missed", "npv")
    head = ["policy", *(name.replace("_", " ") for name in names), "PPV by probability alone"]
    rows = [
        [one.policy, *(getattr(one.figures, name) for name in names), one.ppv_probability_alone]
        for one in evaluation.policies
    ]
    return [head, *rows]


def _outcomes(run: RunFolder, scores: Scores, proved: Proved) -> list[Path]:
    labels = scores.held.labels
    pictures = []
    for policy, codes in proved.codes.items():
        counts = [[int((codes[labels == fractured] == code).sum()) for code in _CODES] for fractured in (False, True)]
        pictures.append(figures.confusion(run.picture(f"outcomes-{policy}"), f"Policy: {policy}", counts, _SAID))
    return pictures


def _cases(run: RunFolder, data: Path, material: Material, measured: tuple[Evaluation, Scores, Proved]) -> Section:
    evaluation, scores, proved = measured
    shift = np.float32(evaluation.fitted.map_shift)

    def marks(row: int) -> Marks:
        image = material.images[scores.rows[row]]
        grey = read_grey(data / "images" / image.name)
        if grey is None:
            return Marks(image.boxes)
        prepared = prepare(LCN_LETTERBOX_512, grey)
        body = prepared.body_cells(CELLS, CELLS)
        return Marks(image.boxes, EvidenceMap(scores.maps[row] + shift, body, prepared.geometry, "localiser"))

    paths = [data / "images" / material.images[row].name for row in scores.rows]
    threshold = evaluation.fitted.thresholds.p_high
    look = Look(threshold=threshold, alpha=localise.ALPHA)
    scored = Scored(paths, scores.held.labels, proved.p)
    sheet = case_pictures.contact_sheet(run.picture("cases"), scored, marks, look)
    words = f"Called positive from p_high = {threshold:.3f} on. True boxes, and the localiser's regions with its peak."
    return Section("Best and worst cases", words, pictures=[sheet])
