"""The shipped probe: out-of-fold scores for its calibration and its figures, then one fit on everything it may see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dicom_node.lab import evaluation_folds, evaluation_measures, evaluation_run, evaluation_scores, probe
from dicom_node.lab.evaluation_folds import HONEST, Folding
from dicom_node.lab.evaluation_measures import Bootstrap
from dicom_node.lab.progress import say
from dicom_node.lab.runs import LabError, RunFolder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicom_node.lab.embeddings import Embeddings


@dataclass(frozen=True, slots=True)
class Order:
    """How to fit and how to measure."""

    settings: probe.Settings
    folds: int
    seed: int
    bootstraps: int


@dataclass(frozen=True, slots=True)
class Made:
    """The probe, its temperature, its metrics and a short form of them, and the out-of-fold scores behind them."""

    fitted: probe.Fitted
    temperature: float
    metrics: dict[str, Any]
    summary: dict[str, object]
    folding: Folding
    z: NDArray[np.float64]


def sides(found: Embeddings, train: str, test: str) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which images are learnt from and which are the test; all and none where no split is named.

    Raises LabError where a split is empty, or a group is on both sides.
    """
    if not train:
        return np.ones(len(found.labels), dtype=np.bool_), np.zeros(len(found.labels), dtype=np.bool_)
    for name in (train, test):
        if not (found.splits == name).any():
            known = ", ".join(sorted({str(one) for one in found.splits if one})) or "none"
            message = f"no image is in split {name!r}; the index has these splits: {known}"
            raise LabError(message)
    learnt, asked = found.splits == train, (found.splits == test) & found.scored
    evaluation_folds.refuse_leak(found.groups[learnt], found.groups[asked])
    return learnt, asked


def make(found: Embeddings, train: NDArray[np.bool_], test: NDArray[np.bool_], order: Order, run: RunFolder) -> Made:
    """Score out of fold, calibrate on that, fit on the whole side, and measure the test side where there is one."""
    folding = evaluation_folds.make_folds(found, HONEST, order.folds, order.seed, among=train)
    bootstrap = Bootstrap(order.bootstraps, order.seed)
    z = _out_of_fold(found, folding, order, run)
    metrics = evaluation_run.measure(found, folding, z, bootstrap)
    among = found.scored & train
    temperature = evaluation_measures.fit_temperature(z[among], found.labels[among])
    say("fit on everything that may be learnt from")
    rows = np.flatnonzero(train)
    fitted = probe.fit(found.features, rows, found.labels[rows], order.settings)
    metrics |= {"learnt": len(rows), "converged": fitted.converged, "temperature": temperature}
    if not fitted.converged:
        run.log("warning: the fit did not converge; a smaller --strength would")
    if test.any():
        metrics |= {"test_split": str(found.splits[test][0]), "test": _test(found, test, fitted, bootstrap)}
    return Made(fitted, temperature, metrics, _summary(metrics), folding, z)


def _out_of_fold(found: Embeddings, folding: Folding, order: Order, run: RunFolder) -> NDArray[np.float64]:
    among = found.scored & (folding.folds >= 0)
    if not run.done("scores"):
        held_out = evaluation_folds.out_of_fold(found, folding, order.settings)
        evaluation_scores.write(run.path, found, folding, held_out.z)
        run.mark("scores")
    z = np.full(len(found.labels), np.nan)
    z[among] = evaluation_scores.read(run.path).z
    return z


def _test(found: Embeddings, test: NDArray[np.bool_], fitted: probe.Fitted, bootstrap: Bootstrap) -> dict[str, Any]:
    rows = np.flatnonzero(test)
    z = probe.fold(fitted.linear).logits(found.features[rows])
    nowhere = np.zeros(len(rows), dtype=np.int64)
    scores = evaluation_measures.Scores(found.labels[rows], z, found.groups[rows], nowhere)
    return evaluation_measures.discrimination(scores, bootstrap)


def _summary(metrics: dict[str, Any]) -> dict[str, object]:
    told = metrics.get("test", metrics)
    return {
        "auc": told["auc"]["value"],
        "average_precision": told["average_precision"]["value"],
        "images": told["images"],
        "fractured": told["fractured"],
        "protocol": "held-out split" if "test" in metrics else "out of fold, by group",
    }
