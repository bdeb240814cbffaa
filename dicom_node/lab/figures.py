"""Pictures of a run, drawn without a screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve, roc_curve

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SIZE: Final = (5.0, 4.4)
_DOTS: Final = 110
_FAINT: Final = {"color": "0.6", "linewidth": 1.0, "linestyle": "--"}
_HALF: Final = 0.5


def _axes(title: str, across: str, up: str) -> tuple[Any, Any]:
    figure = Figure(figsize=_SIZE, dpi=_DOTS, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=11)
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.grid(visible=True, color="0.9")
    return figure, axes


def _unit(axes: Any) -> None:
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.01)


def roc(path: Path, labels: NDArray[np.bool_], curves: Mapping[str, NDArray[np.float64]]) -> Path:
    """Draw the ROC curve of each set of scores, chance beside it."""
    figure, axes = _axes("ROC", "1 - specificity", "sensitivity")
    for name, scores in curves.items():
        wrong, right, _ = roc_curve(labels, scores)
        axes.plot(wrong, right, label=name)
    axes.plot([0, 1], [0, 1], **_FAINT)
    _unit(axes)
    axes.legend(loc="lower right", fontsize=9)
    return _save(figure, path)


def precision_recall(path: Path, labels: NDArray[np.bool_], curves: Mapping[str, NDArray[np.float64]]) -> Path:
    """Draw precision against recall of each set of scores, the prevalence beside it."""
    figure, axes = _axes("Precision and recall", "recall (sensitivity)", "precision")
    for name, scores in curves.items():
        precision, recall, _ = precision_recall_curve(labels, scores)
        # Each precision holds from its recall down to the one before: steps, as average precision counts them.
        axes.step(recall, precision, where="post", label=name)
    axes.axhline(float(labels.mean()), **_FAINT)
    _unit(axes)
    axes.legend(loc="upper right", fontsize=9)
    return _save(figure, path)


def reliability(path: Path, bins: Mapping[str, Sequence[tuple[float, float, int]]]) -> Path:
    """Draw share fractured against mean probability, a point a bin of equal mass, for each calibration."""
    figure, axes = _axes("Reliability (bins of equal mass)", "mean probability", "share fractured")
    for name, points in bins.items():
        axes.plot([one[0] for one in points], [one[1] for one in points], marker="o", markersize=4, label=name)
    axes.plot([0, 1], [0, 1], **_FAINT)
    _unit(axes)
    axes.legend(loc="upper left", fontsize=9)
    return _save(figure, path)


def data_efficiency(path: Path, curve: Sequence[Mapping[str, Any]], learnt: int) -> Path:
    """Draw the AUC against the number of images learnt from (`learnt` at the point "all"), with the spread."""
    figure, axes = _axes("Data efficiency", "images learnt from", "AUC, mean over folds and draws")
    points = [one for one in curve if one["auc"] is not None]
    sizes = [learnt if one["images"] == "all" else int(one["images"]) for one in points]
    values = [float(one["auc"]) for one in points]
    axes.errorbar(sizes, values, yerr=[float(one["deviation"]) for one in points], marker="o", capsize=3)
    axes.axhline(_HALF, **_FAINT)
    axes.set_xscale("log")
    axes.set_xticks(sizes, [str(one) for one in sizes], fontsize=8)
    axes.minorticks_off()
    axes.set_ylim(0.4, 1.0)
    return _save(figure, path)


def confusion(path: Path, table: Mapping[str, int], threshold: float) -> Path:
    """Draw the confusion table at a threshold."""
    figure, axes = _axes(f"Confusion at p = {threshold:g}", "said", "is")
    cells = np.array(
        [[table["true_negative"], table["false_positive"]], [table["false_negative"], table["true_positive"]]]
    )
    shares = cells / np.maximum(cells.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    for (row, column), count in np.ndenumerate(cells):
        ink = "white" if shares[row, column] > _HALF else "black"
        text = f"{count}\n{shares[row, column]:.0%}"
        axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=13)
    axes.set_xticks([0, 1], ["not fractured", "fractured"])
    axes.set_yticks([0, 1], ["not fractured", "fractured"], rotation=90, va="center")
    axes.grid(visible=False)
    return _save(figure, path)


def _save(figure: Any, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path
