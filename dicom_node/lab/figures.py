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

    from dicom_node.lab.gate_grid import Cell
    from dicom_node.lab.hybrid_train import Epoch
    from dicom_node.lab.selective import RiskCoverage, ThreeOutcomes

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


def confusion(path: Path, title: str, counts: Sequence[Sequence[int]], columns: Sequence[str]) -> Path:
    """Draw counts, a row each for "not fractured" and "fractured", a column for each thing that can be said."""
    figure, axes = _axes(title, "said", "is")
    cells = np.array(counts)
    shares = cells / np.maximum(cells.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
    for (row, column), count in np.ndenumerate(cells):
        ink = "white" if shares[row, column] > _HALF else "black"
        text = f"{count}\n{shares[row, column]:.0%}"
        axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=13)
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks([0, 1], ["not fractured", "fractured"], rotation=90, va="center")
    axes.grid(visible=False)
    return _save(figure, path)


def risk_coverage(path: Path, curves: Mapping[str, RiskCoverage]) -> Path:
    """Draw selective risk (solid) and generalised risk (dashed) of each confidence against the share decided."""
    figure, axes = _axes("Risk and coverage", "coverage (share decided)", "risk")
    for name, curve in curves.items():
        (line,) = axes.plot(curve.coverage, curve.risk, label=f"{name}: selective")
        style = {"color": line.get_color(), "linestyle": "--", "label": f"{name}: generalised"}
        axes.plot(curve.coverage, curve.generalised, **style)
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=9)
    return _save(figure, path)


def history(path: Path, epochs: Sequence[Epoch], best: int) -> Path:
    """Draw the training loss and the validation AUC, epoch by epoch."""
    figure, axes = _axes("Training", "epoch", "training loss")
    numbers = [one.number for one in epochs]
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.plot(numbers, [one.loss for one in epochs], color="tab:gray", marker=".")
    other = axes.twinx()
    other.plot(numbers, [one.auc for one in epochs], color="tab:blue", marker=".")
    other.axvline(best, color="tab:blue", linestyle=":")
    other.set_ylabel("validation AUC (dotted: the epoch kept)", color="tab:blue")
    return _save(figure, path)


def coverage_accuracy(
    path: Path, cells: Sequence[Cell], chosen: ThreeOutcomes, others: Mapping[str, ThreeOutcomes]
) -> Path:
    """Draw every cell of the grid: accuracy on decided cases against coverage, coloured by the inconclusive rate.

    chosen: circled. others: further gates by name, as crosses. What has no accuracy (nothing decided) is not drawn.
    """
    figure, axes = _axes("Cells of the grid", "coverage (share decided)", "accuracy on decided cases")
    drawn = [cell.figures for cell in cells if cell.figures.accuracy is not None]
    dots = axes.scatter(
        [one.coverage for one in drawn],
        [one.accuracy for one in drawn],
        c=[one.inconclusive_rate for one in drawn],
        cmap="viridis",
        vmin=0,
        s=22,
        alpha=0.8,
    )
    figure.colorbar(dots, ax=axes, label="inconclusive rate")
    ring = {"s": 130, "facecolors": "none", "edgecolors": "red", "linewidths": 2}
    marks = [("chosen cell", chosen, ring)]
    marks += [(name, one, {"s": 90, "marker": "x", "linewidths": 2}) for name, one in others.items()]
    for name, one, look in marks:
        if one.accuracy is not None:
            axes.scatter([one.coverage], [one.accuracy], label=name, **look)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize=9)
    return _save(figure, path)


def _save(figure: Any, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path
