"""Folds, out-of-fold scores and the data-efficiency curve of a probe on embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from dicom_node.lab import dataset, metrics, probe
from dicom_node.lab.progress import say, track
from dicom_node.lab.runs import LabError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicom_node.lab.embeddings import Embeddings

PUBLISHED, HONEST = "published", "honest"
SIZES: Final = (10, 25, 50, 100, 250, 500)
_DRAWS: Final = 3


@dataclass(frozen=True, slots=True)
class Folding:
    """Which fold each image is in (-1: none), and whether folds are of groups (honest) or of images (published)."""

    protocol: str
    folds: NDArray[np.int64]
    seed: int

    @property
    def numbers(self) -> list[int]:
        """The folds' numbers."""
        return [int(one) for one in np.unique(self.folds) if one >= 0]

    def parts(self, found: Embeddings, fold: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the rows to learn from and the rows to score. Every learnable row is learnt from, clean ones scored.

        In the published protocol too an image with a defect is not scored; in the honest one no group is on both sides.
        """
        train = np.flatnonzero((self.folds != fold) & (self.folds >= 0))
        test = np.flatnonzero((self.folds == fold) & found.scored)
        if self.protocol == HONEST:
            refuse_leak(found.groups[train], found.groups[test])
        _both_classes(found.labels[train], f"fold {fold + 1}", "use fewer folds, or more groups of both kinds")
        return train, test


def refuse_leak(train: NDArray[np.str_], test: NDArray[np.str_]) -> None:
    """Raise LabError where a group is on both sides of a split."""
    try:
        dataset.assert_disjoint(train.tolist(), test.tolist())
    except dataset.LeakError as error:
        message = f"the split leaks: {error}; split by group"
        raise LabError(message) from None


def _both_classes(labels: NDArray[np.bool_], where: str, remedy: str) -> None:
    if labels.all() or not labels.any():
        message = f"{where} would learn from {len(labels)} images of one class only; {remedy}"
        raise LabError(message)


def make_folds(
    found: Embeddings, protocol: str, count: int, seed: int, among: NDArray[np.bool_] | None = None
) -> Folding:
    """Return the folds of a protocol over all images, or over some of them.

    Raises LabError where the data cannot fill the folds with both classes.
    """
    rows = np.arange(len(found.labels)) if among is None else np.flatnonzero(among)
    labels, groups = found.labels[rows].astype(np.int64), found.groups[rows]
    _both_classes(found.labels[rows], "the folds", "add images of the other class")
    fewest = int(min(labels.sum(), len(labels) - labels.sum()))
    held = len(np.unique(groups))
    if count < 2 or count > fewest or (protocol == HONEST and count > held):  # noqa: PLR2004 - a split has two sides
        message = (
            f"{count} folds cannot be made of {held} groups with {fewest} images in the smaller class; "
            "choose --folds between 2 and the smaller of the two"
        )
        raise LabError(message)
    folds = np.full(len(found.labels), -1, dtype=np.int64)
    kind = StratifiedGroupKFold if protocol == HONEST else StratifiedKFold
    splitter = kind(n_splits=count, shuffle=True, random_state=seed)
    by = groups if protocol == HONEST else None
    for number, (_, held_out) in enumerate(splitter.split(labels, labels, by)):
        folds[rows[held_out]] = number
    return Folding(protocol, folds, seed)


@dataclass(frozen=True, slots=True)
class OutOfFold:
    """z of each embedded image from a probe that did not learn from it (NaN where not scored); did all converge."""

    z: NDArray[np.float64]
    converged: bool


def out_of_fold(found: Embeddings, folding: Folding, settings: probe.Settings) -> OutOfFold:
    """Fit a probe a fold and score what it did not see."""
    z = np.full(len(found.labels), np.nan)
    converged = True
    for fold in track(folding.numbers, "folds"):
        train, test = folding.parts(found, fold)
        fitted = probe.fit(found.features, train, found.labels[train], settings)
        z[test] = probe.fold(fitted.linear).logits(found.features[test])
        converged &= fitted.converged
    return OutOfFold(z, converged)


def data_efficiency(
    found: Embeddings, folding: Folding, settings: probe.Settings, whole: NDArray[np.float64]
) -> list[dict[str, object]]:
    """Return the AUC against the number of images learnt from: the mean over folds and draws, and their spread.

    The last point is that of all images, from the out-of-fold scores `whole`.
    """
    curve: list[dict[str, object]] = []
    largest = min(len(folding.parts(found, fold)[0]) for fold in folding.numbers)
    for size in SIZES:
        if size >= largest:
            curve.append({"images": size, "auc": None, "reason": f"only {largest} images can be learnt from"})
            continue
        say(f"data efficiency: {size} images")
        aucs = [
            _small(found, folding, settings, (fold, size, draw)) for fold in folding.numbers for draw in range(_DRAWS)
        ]
        curve.append({"images": size, **_point(np.array(aucs))})
    scores = [_fold_auc(found, folding, fold, whole) for fold in folding.numbers]
    curve.append({"images": "all", **_point(np.array(scores))})
    return curve


def _small(found: Embeddings, folding: Folding, settings: probe.Settings, which: tuple[int, int, int]) -> float:
    fold, size, draw = which
    train, test = folding.parts(found, fold)
    random = np.random.default_rng([folding.seed, fold, size, draw])
    chosen = _stratified(train, found.labels, size, random)
    fitted = probe.fit(found.features, chosen, found.labels[chosen], settings)
    return metrics.auc(found.labels[test], probe.fold(fitted.linear).logits(found.features[test]))


def _stratified(
    rows: NDArray[np.int64], labels: NDArray[np.bool_], size: int, random: np.random.Generator
) -> NDArray[np.int64]:
    """Draw images with the classes in their proportion, at least one of each."""
    positive, negative = rows[labels[rows]], rows[~labels[rows]]
    share = max(1, min(size - 1, round(size * len(positive) / len(rows))))
    drawn = [random.choice(positive, share, replace=False), random.choice(negative, size - share, replace=False)]
    return np.sort(np.concatenate(drawn))


def _fold_auc(found: Embeddings, folding: Folding, fold: int, z: NDArray[np.float64]) -> float:
    among = (folding.folds == fold) & found.scored
    return metrics.auc(found.labels[among], z[among])


def _point(aucs: NDArray[np.float64]) -> dict[str, object]:
    defined = aucs[np.isfinite(aucs)]
    if not len(defined):
        return {"auc": None, "reason": "no fold has both classes to score"}
    return {"auc": float(defined.mean()), "deviation": float(defined.std()), "trials": len(defined)}


def fold_aucs(found: Embeddings, folding: Folding, z: NDArray[np.float64]) -> list[dict[str, object]]:
    """Return the AUC of each fold, null with its reason where the fold's scored images are of one class."""
    result: list[dict[str, object]] = []
    for fold in folding.numbers:
        among = (folding.folds == fold) & found.scored
        labels = found.labels[among]
        value = metrics.auc(labels, z[among]) if len(labels) else float("nan")
        row: dict[str, object] = {"fold": fold + 1, "images": len(labels), "fractured": int(labels.sum())}
        row |= {"auc": value} if np.isfinite(value) else {"auc": None, "reason": "one class only"}
        result.append(row)
    return result
