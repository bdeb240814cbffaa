"""The pictures of a trained classifier and of its gate, as PNG files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl

mpl.use("Agg")

import numpy as np
from matplotlib import pyplot as plt
from sklearn.metrics import precision_recall_curve, roc_curve

from dicom_node.lab import selective

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from dicom_node.lab.gate_grid import Cell
    from dicom_node.lab.hybrid_train import Epoch


def _new(x: str, y: str) -> tuple[Any, Any]:
    figure, axes = plt.subplots(figsize=(5.2, 4.2), layout="constrained")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.25)
    return figure, axes


def _save(figure: Any, path: Path) -> Path:
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path


def roc(path: Path, labels: NDArray[np.bool_], p: NDArray[np.float64]) -> Path:
    """Draw the ROC curve."""
    figure, axes = _new("1 - specificity", "sensitivity")
    false, true, _ = roc_curve(labels, p)
    axes.plot(false, true, linewidth=2)
    axes.plot([0, 1], [0, 1], color="0.6", linestyle=":")
    return _save(figure, path)


def precision_recall(path: Path, labels: NDArray[np.bool_], p: NDArray[np.float64]) -> Path:
    """Draw precision against recall, with the prevalence as its floor."""
    figure, axes = _new("recall", "precision")
    precision, recall, _ = precision_recall_curve(labels, p)
    axes.plot(recall, precision, linewidth=2)
    axes.axhline(labels.mean(), color="0.6", linestyle=":")
    axes.set_ylim(0, 1.02)
    return _save(figure, path)


def reliability(path: Path, labels: NDArray[np.bool_], p: NDArray[np.float64], bins: int = 10) -> Path:
    """Draw the observed share of fractures against the mean probability, in bins of equal mass."""
    figure, axes = _new("mean probability", "observed share of fractures")
    parts = [part for part in np.array_split(np.argsort(p, kind="stable"), bins) if len(part)]
    axes.plot([p[part].mean() for part in parts], [labels[part].mean() for part in parts], marker="o")
    axes.plot([0, 1], [0, 1], color="0.6", linestyle=":")
    return _save(figure, path)


def risk_coverage(path: Path, curves: Mapping[str, selective.RiskCoverage]) -> Path:
    """Draw selective risk (solid) and generalised risk (dashed) against coverage."""
    figure, axes = _new("coverage", "risk")
    for name, curve in curves.items():
        (line,) = axes.plot(curve.coverage, curve.risk, label=f"{name}: selective")
        axes.plot(
            curve.coverage, curve.generalised, color=line.get_color(), linestyle="--", label=f"{name}: generalised"
        )
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8)
    return _save(figure, path)


def history(path: Path, epochs: Sequence[Epoch], best: int) -> Path:
    """Draw the training loss and the validation AUC, epoch by epoch."""
    figure, axes = _new("epoch", "training loss")
    numbers = [one.number for one in epochs]
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.plot(numbers, [one.loss for one in epochs], color="tab:gray", marker=".", label="training loss")
    other = axes.twinx()
    other.plot(numbers, [one.auc for one in epochs], color="tab:blue", marker=".", label="validation AUC")
    other.axvline(best, color="tab:blue", linestyle=":")
    other.set_ylabel("validation AUC (dotted: the epoch kept)", color="tab:blue")
    return _save(figure, path)


def coverage_accuracy(path: Path, cells: Sequence[Cell], chosen: Cell | None, others: Mapping[str, Any]) -> Path:
    """Draw every cell of the grid: accuracy on decided cases against coverage, coloured by the inconclusive rate.

    others: further gates by name, each a ThreeOutcomes, as crosses.
    """
    figure, axes = _new("coverage (decided cases)", "accuracy on decided cases")
    drawn = [cell.figures for cell in cells if cell.figures.accuracy is not None]
    shown = axes.scatter(
        [one.coverage for one in drawn],
        [one.accuracy for one in drawn],
        c=[one.inconclusive_rate for one in drawn],
        cmap="viridis",
        vmin=0,
        s=22,
        alpha=0.8,
    )
    figure.colorbar(shown, ax=axes, label="inconclusive rate")
    if chosen is not None and chosen.figures.accuracy is not None:
        place = ([chosen.figures.coverage], [chosen.figures.accuracy])
        axes.scatter(*place, s=130, facecolors="none", edgecolors="red", linewidths=2, label="chosen cell")
    for name, one in others.items():
        if one.accuracy is not None:
            axes.scatter([one.coverage], [one.accuracy], s=90, marker="x", linewidths=2, label=name)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize=8)
    return _save(figure, path)


def confusion(path: Path, table: Sequence[Sequence[int]], columns: Sequence[str]) -> Path:
    """Draw counts, a row each for "not fractured" and "fractured"."""
    figure, axes = plt.subplots(figsize=(1.5 + 1.3 * len(columns), 2.6), layout="constrained")
    counts = np.array(table)
    axes.imshow(counts, cmap="Blues", aspect="auto")
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(2), ["not fractured", "fractured"])
    for (row, column), value in np.ndenumerate(counts):
        dark = value > counts.max() / 2
        axes.text(column, row, str(value), ha="center", va="center", color="white" if dark else "black")
    return _save(figure, path)
