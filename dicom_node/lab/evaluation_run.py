"""An evaluation: everything that is measured on out-of-fold scores, and the report about it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from dicom_node.lab import dataset, figures, selective, shortcuts
from dicom_node.lab import evaluation_measures as measures
from dicom_node.lab.evaluation_folds import HONEST, PUBLISHED, Folding, fold_aucs
from dicom_node.lab.runs import RunFolder, Section

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dicom_node.lab.embeddings import Embeddings
    from dicom_node.lab.evaluation_measures import Bootstrap, Scores

_THRESHOLD: Final = 0.5
WORDS: Final = {
    PUBLISHED: (
        "As published: folds by image, stratified; intervals by drawing images again; each image in its first region "
        "only; temperature scaling. Views of one patient are on both sides of these folds, so the figures flatter; "
        "they are for comparing with the published ones."
    ),
    HONEST: (
        "Folds and intervals by group: no patient is on both sides, and whole groups are drawn again. Each image "
        "counts in every region it shows; Platt scaling, fitted on the other folds."
    ),
}
_AREAS: Final = {
    "aurc": "AURC, under selective risk against coverage",
    "augrc": "AUGRC, under generalised risk against coverage",
}
METHOD: Final = {PUBLISHED: measures.TEMPERATURE, HONEST: measures.PLATT}


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The scores of the scored images, calibrated, and those of the shortcuts where they could be made."""

    scores: Scores
    p: NDArray[np.float64]
    shortcut: NDArray[np.float64] | None
    shortcut_reason: str


def evaluated(found: Embeddings, folding: Folding, z: NDArray[np.float64], among: NDArray[np.bool_]) -> Evaluated:
    """Return what the figures are computed from: the chosen rows, in their order."""
    names = np.array(found.names, dtype=np.str_)
    units = found.groups if folding.protocol == HONEST else names
    scores = measures.Scores(found.labels[among], z[among], units[among], folding.folds[among])
    reason = measures.undefined(scores.labels)
    p = np.full(len(scores.z), np.nan) if reason else measures.cross_fitted(METHOD[folding.protocol], scores)
    plain, why = _shortcut(found, folding, among)
    return Evaluated(scores, p, plain, why)


def _shortcut(found: Embeddings, folding: Folding, among: NDArray[np.bool_]) -> tuple[NDArray[np.float64] | None, str]:
    if found.facts is None:
        return None, "the embeddings folder has no facts.npy"
    for fold in np.unique(folding.folds[among]):
        if measures.undefined(found.labels[among & (folding.folds != fold)]):
            return None, f"without fold {fold + 1} one class only is left to learn from"
    used = np.ones(int(among.sum()), dtype=np.bool_)
    return shortcuts.held_out_scores(found.facts[among], found.labels[among], folding.folds[among], used), ""


def measure(found: Embeddings, folding: Folding, z: NDArray[np.float64], bootstrap: Bootstrap) -> dict[str, Any]:
    """Return the metrics of a run on all scored images."""
    among = found.scored & (folding.folds >= 0)
    done = evaluated(found, folding, z, among)
    scores = done.scores
    hardware = found.hardware[among]
    regions = _regions(found, among, folding.protocol)
    return {
        "protocol": folding.protocol,
        "counts": _counts(found, among),
        "groups": len(np.unique(found.groups[among])),
        "prevalence": float(scores.labels.mean()),
        "embedder": found.source.get("embedder"),
        **measures.discrimination(scores, bootstrap),
        "folds": fold_aucs(found, folding, z),
        "at_threshold": measures.at_threshold(scores.labels, done.p, _THRESHOLD),
        "regions": {
            name: {
                **measures.discrimination(scores.among(mask), bootstrap),
                "at_threshold": measures.at_threshold(scores.labels[mask], done.p[mask], _THRESHOLD),
            }
            for name, mask in regions.items()
        },
        "hardware": {
            "with": measures.discrimination(scores.among(hardware), bootstrap),
            "without": measures.discrimination(scores.among(~hardware), bootstrap),
        },
        "shortcuts_alone": _shortcut_figure(done, bootstrap),
        "selective": measures.selective_figures(scores, done.p, bootstrap),
        "calibration": measures.calibration_figures(scores, bootstrap),
    }


def _counts(found: Embeddings, among: NDArray[np.bool_]) -> dict[str, Any]:
    """Return where every listed image went; those of a split that is not looked at here are excluded as such."""
    other = int((found.scored & ~among).sum())
    excluded = found.excluded | ({"other_split": other} if other else {})
    counts = dataset.Conservation(found.listed, int(among.sum()), excluded, found.failed)
    counts.check()
    return asdict(counts)


def _shortcut_figure(done: Evaluated, bootstrap: Bootstrap) -> dict[str, Any]:
    if done.shortcut is None:
        return {"auc": {"value": None, "reason": done.shortcut_reason}}
    plain = measures.Scores(done.scores.labels, done.shortcut, done.scores.units, done.scores.folds)
    return measures.discrimination(plain, bootstrap)


def _regions(found: Embeddings, among: NDArray[np.bool_], protocol: str) -> dict[str, NDArray[np.bool_]]:
    shown = [found.regions[row] for row in np.flatnonzero(among)]
    if protocol == PUBLISHED:
        shown = [one[:1] for one in shown]
    names = dict.fromkeys(name for one in shown for name in one)
    return {name: np.array([name in one for one in shown], dtype=np.bool_) for name in sorted(names)}


def draw(
    run: RunFolder, found: Embeddings, folding: Folding, z: NDArray[np.float64], metrics: dict[str, Any]
) -> list[Path]:
    """Draw ROC, precision-recall, reliability, risk-coverage, confusion and, where it was measured, data efficiency."""
    done = evaluated(found, folding, z, found.scored & (folding.folds >= 0))
    labels = done.scores.labels
    if measures.undefined(labels):
        return []
    curves = {"probe": done.scores.z} | ({} if done.shortcut is None else {"shortcuts alone": done.shortcut})
    pictures = [
        figures.roc(run.picture("roc"), labels, curves),
        figures.precision_recall(run.picture("precision_recall"), labels, curves),
        figures.reliability(run.picture("reliability"), reliability_bins(done.scores)),
        figures.risk_coverage(
            run.picture("risk_coverage"), {"probe": selective.risk_coverage(*selective.likelier(labels, done.p))}
        ),
        _confusion(run, metrics["at_threshold"]["confusion"]),
    ]
    if metrics.get("data_efficiency"):
        learnt = len(folding.parts(found, folding.numbers[0])[0])
        pictures.append(figures.data_efficiency(run.picture("data_efficiency"), metrics["data_efficiency"], learnt))
    return pictures


def _confusion(run: RunFolder, table: dict[str, int]) -> Path:
    counts = [[table["true_negative"], table["false_positive"]], [table["false_negative"], table["true_positive"]]]
    title = f"Confusion at p = {_THRESHOLD:g}"
    return figures.confusion(run.picture("confusion"), title, counts, ["not fractured", "fractured"])


def reliability_bins(scores: Scores) -> dict[str, list[tuple[float, float, int]]]:
    """Return the reliability of each calibration, cross-fitted."""
    names = {measures.NONE: "not calibrated", measures.TEMPERATURE: "temperature", measures.PLATT: "Platt"}
    return {
        name: measures.reliability(scores.labels, measures.cross_fitted(method, scores))
        for method, name in names.items()
    }


def text_of(figure: dict[str, Any]) -> str:
    """Return a figure with its interval in words, or why there is none."""
    if figure.get("value") is None:
        return f"– ({figure.get('reason', 'undefined')})"  # noqa: RUF001 - an en dash, on purpose
    return f"{figure['value']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})"


def sections(metrics: dict[str, Any], pictures: Sequence[Path]) -> list[Section]:
    """Return the report's sections."""
    counts = metrics["counts"]
    excluded = ", ".join(f"{reason} {count}" for reason, count in counts["excluded"].items()) or "none"
    data = [["listed", "scored", "excluded", "failed", "groups"]]
    data.append(
        [counts["listed"], counts["scored"], sum(counts["excluded"].values()), counts["failed"], metrics["groups"]]
    )
    result = [
        Section("Protocol", WORDS[metrics["protocol"]]),
        Section("Images", f"listed = scored + excluded + failed. Excluded: {excluded}.", data),
        Section("Discrimination", "95 % intervals in brackets.", _parts_table(metrics), pictures),
        Section("Folds", "", [["fold", "images", "fractured", "AUC"], *[_fold_row(one) for one in metrics["folds"]]]),
        Section(
            "At p = 0.5, calibrated",
            "",
            [["part", "sensitivity", "specificity", "precision", "F1", "accuracy"], *_threshold_rows(metrics)],
        ),
        Section(
            "Abstaining",
            "What is decided first is what the calibrated probability is surest of; risk is the share of wrong answers "
            "at the likelier class. Lower is better.",
            [["area", "value"], *((_AREAS[name], text_of(one)) for name, one in metrics["selective"].items())],
        ),
        Section("Calibration", calibration_words(metrics["calibration"]), calibration_table(metrics["calibration"])),
    ]
    if metrics.get("data_efficiency"):
        rows = [
            [one["images"], one["auc"], one.get("deviation"), one.get("reason", "")]
            for one in metrics["data_efficiency"]
        ]
        result.append(Section("Data efficiency", "", [["images", "AUC", "deviation", ""], *rows]))
    return result


def _parts(metrics: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [("all", metrics), *metrics["regions"].items()]


def _parts_table(metrics: dict[str, Any]) -> list[list[object]]:
    rows: list[list[object]] = [["part", "images", "fractured", "AUC", "average precision"]]
    named = [*_parts(metrics), *((f"{name} hardware", one) for name, one in metrics["hardware"].items())]
    if "images" in metrics["shortcuts_alone"]:
        named.append(("shortcuts alone, no anatomy", metrics["shortcuts_alone"]))
    for name, one in named:
        rows.append([name, one["images"], one["fractured"], text_of(one["auc"]), text_of(one["average_precision"])])
    if "images" not in metrics["shortcuts_alone"]:
        rows.append(["shortcuts alone, no anatomy", None, None, text_of(metrics["shortcuts_alone"]["auc"]), None])
    return rows


def _fold_row(one: dict[str, Any]) -> list[object]:
    return [one["fold"], one["images"], one["fractured"], one["auc"] if one["auc"] is not None else one["reason"]]


def _threshold_rows(metrics: dict[str, Any]) -> list[list[object]]:
    keys = ("sensitivity", "specificity", "precision", "f1", "accuracy")
    return [[name, *(one["at_threshold"][key] for key in keys)] for name, one in _parts(metrics)]


def calibration_words(found: dict[str, Any]) -> str:
    """Return what the calibration's figures mean."""
    if "reason" in found:
        return f"Not defined: {found['reason']}."
    return (
        f"Each probability was calibrated on the other folds. Saying the prevalence for every image has a Brier score "
        f"of {found['brier_of_prevalence']:.3f}. ECE over ten bins of equal mass."
    )


def calibration_table(found: dict[str, Any]) -> list[list[object]]:
    """Return a row for each calibration."""
    if "reason" in found:
        return []
    rows: list[list[object]] = [["method", "a", "d", "Brier", "NLL", "ECE"]]
    for method in (measures.NONE, measures.TEMPERATURE, measures.PLATT):
        one = found[method]
        rows.append([method, one["a"], one["d"], text_of(one["brier"]), text_of(one["nll"]), text_of(one["ece"])])
    return rows
