"""Several runs side by side, and how sure it is that one separates better than another."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from dicom_node.lab import evaluation_measures as measures
from dicom_node.lab import evaluation_scores, metrics
from dicom_node.lab.evaluation_run import text_of
from dicom_node.lab.evaluation_scores import SCORES, ScoreTable
from dicom_node.lab.runs import LabError, read_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dicom_node.lab.evaluation_measures import Bootstrap

HEADING: Final = (
    *("run", "protocol", "images", "fractured", "AUC", "average precision", "AUC without hardware"),
    *("AUC of shortcuts", "Brier (Platt)", "ECE (Platt)"),
)


def names_of(folders: Sequence[Path]) -> list[str]:
    """Return a name for each run: its folder's, or as much of the path as tells them apart."""
    resolved = [folder.resolve() for folder in folders]
    if len(set(resolved)) != len(resolved):
        message = "a run is given twice; give each once"
        raise LabError(message)
    short = [folder.name for folder in resolved]
    return short if len(set(short)) == len(short) else [f"{one.parent.name}/{one.name}" for one in resolved]


def row(name: str, found: dict[str, Any]) -> list[object]:
    """Return a run's figures under HEADING; a dash where a run of another kind does not state one."""
    plain = _text(found, "auc"), _text(found, "average_precision"), _text(found, "hardware", "without", "auc")
    counts = (_at(found, "protocol"), _at(found, "images"), _at(found, "fractured"))
    calibrated = (_text(found, "calibration", "platt", "brier"), _text(found, "calibration", "platt", "ece"))
    return [name, *counts, *plain, _text(found, "shortcuts_alone", "auc"), *calibrated]


def _at(found: Any, *keys: str) -> Any:
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found


def _text(found: dict[str, Any], *keys: str) -> object:
    value = _at(found, *keys)
    if isinstance(value, dict):
        return text_of(value) if {"value", "low", "high"} <= value.keys() or "reason" in value else None
    return value


def pairs(folders: Sequence[Path], names: Sequence[str], bootstrap: Bootstrap) -> list[dict[str, Any]]:
    """Return, for each pair of runs, the difference of AUC with its interval by group, or why there is none."""
    tables = [evaluation_scores.read(folder) if (folder / SCORES).exists() else None for folder in folders]
    result = []
    for one, other in combinations(range(len(folders)), 2):
        found = _difference(tables[one], tables[other], bootstrap)
        result.append({"first": names[one], "second": names[other], **found})
    return result


def _difference(first: ScoreTable | None, second: ScoreTable | None, bootstrap: Bootstrap) -> dict[str, Any]:
    if first is None or second is None:
        return {"value": None, "reason": "a run keeps no scores"}
    if set(first.names) != set(second.names):
        shared = len(set(first.names) & set(second.names))
        return {"value": None, "reason": f"other images: {shared} shared of {len(first.names)} and {len(second.names)}"}
    place = {name: number for number, name in enumerate(second.names)}
    order = np.array([place[name] for name in first.names], dtype=np.int64)
    if not np.array_equal(first.labels, second.labels[order]) or not np.array_equal(first.groups, second.groups[order]):
        return {"value": None, "reason": "the same images with other labels or groups"}
    reason = measures.undefined(first.labels)
    if reason:
        return {"value": None, "reason": reason}
    both = np.column_stack([first.z, second.z[order]])
    # Both scores of an image are drawn together: what makes a draw hard is hard for both.
    interval = metrics.group_interval(
        first.groups, first.labels, both, _auc_difference, seed=bootstrap.seed, draws=bootstrap.draws
    )
    return {"value": _auc_difference(first.labels, both), "low": interval.low, "high": interval.high}


def _auc_difference(labels: Any, both: Any) -> float:
    return metrics.auc(labels, both[:, 1]) - metrics.auc(labels, both[:, 0])


def read_metrics(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """Return the metrics of each run; raises LabError where one has none."""
    return [read_json(folder / "metrics.json") for folder in folders]
