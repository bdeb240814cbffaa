"""scores.csv of a run: every embedded image with its fold and its out-of-fold score."""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from dicom_node.lab.evaluation_measures import Scores
from dicom_node.lab.runs import LabError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from dicom_node.lab.embeddings import Embeddings
    from dicom_node.lab.evaluation_folds import Folding

SCORES: Final = "scores.csv"
_COLUMNS: Final = ("image", "label", "group", "fold", "z", "regions")


@dataclass(frozen=True, slots=True)
class ScoreTable:
    """The scored images of a run."""

    names: tuple[str, ...]
    labels: NDArray[np.bool_]
    groups: NDArray[np.str_]
    folds: NDArray[np.int64]
    z: NDArray[np.float64]
    regions: tuple[tuple[str, ...], ...]

    @property
    def digest(self) -> str:
        """SHA-256 over everything in the table."""
        content = "\n".join(f"{name} {y:d} {g} {k} {z!r}" for name, y, g, k, z in self._rows())
        return hashlib.sha256(content.encode()).hexdigest()

    def _rows(self) -> Iterable[tuple[str, bool, str, int, float]]:
        columns = (self.labels.tolist(), self.groups.tolist(), self.folds.tolist(), self.z.tolist())
        return zip(self.names, *columns, strict=True)

    def scores(self, units: NDArray[np.str_] | None = None) -> Scores:
        """Return the scores, with groups as the units that are drawn again unless others are given."""
        return Scores(self.labels, self.z, self.groups if units is None else units, self.folds)


def write(folder: Path, found: Embeddings, folding: Folding, z: NDArray[np.float64]) -> None:
    """Write the scored images' scores."""
    aside = folder / f"{SCORES}.new"
    with aside.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(_COLUMNS)
        for row in np.flatnonzero(found.scored & (folding.folds >= 0)):
            known = (found.names[row], int(found.labels[row]), found.groups[row])
            writer.writerow([*known, int(folding.folds[row]), repr(float(z[row])), ";".join(found.regions[row])])
    aside.replace(folder / SCORES)


def read(folder: Path) -> ScoreTable:
    """Read the scores of a run; raises LabError where there are none, or where they are no scores."""
    path = folder / SCORES
    try:
        with path.open(encoding="utf-8", newline="") as handle:
            reader = csv.DictReader(handle)
            rows = list(reader)
    except OSError as error:
        message = (
            f"{path}: cannot be read ({error.strerror}); give a finished run of `dicom-node lab head` or `evaluate`"
        )
        raise LabError(message) from None
    missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
    if missing or not rows:
        message = f"{path}: has no {'column ' + ', '.join(missing) if missing else 'rows'}; make the run again"
        raise LabError(message)
    try:
        z = np.array([float(row["z"]) for row in rows])
        folds = np.array([int(row["fold"]) for row in rows], dtype=np.int64)
    except ValueError:
        message = f"{path}: a score or a fold is no number; make the run again"
        raise LabError(message) from None
    if not np.isfinite(z).all():
        message = f"{path}: a score is not a finite number; make the run again"
        raise LabError(message)
    return ScoreTable(
        names=tuple(row["image"] for row in rows),
        labels=np.array([row["label"] == "1" for row in rows], dtype=np.bool_),
        groups=np.array([row["group"] for row in rows], dtype=np.str_),
        folds=folds,
        z=z,
        regions=tuple(tuple(name for name in row["regions"].split(";") if name) for row in rows),
    )
