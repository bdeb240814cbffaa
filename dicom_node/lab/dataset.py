"""The labelled images: which there are, which are scored, and how they are split without a leak."""

from __future__ import annotations

import csv
import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

REGIONS: Final = ("hand", "leg", "hip", "shoulder")
# In order: the first reason that applies is the one that is counted.
_SPOILING: Final = ("truncated_jpeg", "label_conflict", "guard")
_OTHER: Final = "eval_not_ok"

Box = tuple[float, float, float, float]


class LeakError(ValueError):
    """A split puts images of one group on both sides, so its figures would be worthless."""


class ConservationError(ValueError):
    """Images went missing, or were counted twice, between the list and the figures."""


@dataclass(frozen=True, slots=True)
class Image:
    """One labelled radiograph; boxes are (x, y, width, height) in pixels of the file."""

    name: str
    fractured: bool
    group: str
    regions: tuple[str, ...]
    hardware: bool
    views: tuple[bool, bool, bool]
    multiscan: bool
    width: int
    height: int
    file_bytes: int
    flags: tuple[str, ...]
    eval_ok: bool
    boxes: tuple[Box, ...]

    @property
    def exclusion(self) -> str | None:
        """Return why this image is not scored, as a code, or None."""
        for code in _SPOILING:
            if code in self.flags:
                return code
        if not self.eval_ok:
            return "near_dup" if "near_dup" in self.flags else _OTHER
        return None

    @property
    def trainable(self) -> bool:
        """Tell whether the image may be learnt from: a near-duplicate may (it is in its own group), a guard may not."""
        return not any(code in self.flags for code in _SPOILING)


@dataclass(frozen=True, slots=True)
class Conservation:
    """Where every image went: listed = scored + excluded + failed."""

    listed: int
    scored: int
    excluded: dict[str, int]
    failed: int

    def check(self) -> None:
        """Raise unless every listed image is accounted for once."""
        total = self.scored + sum(self.excluded.values()) + self.failed
        if total != self.listed:
            message = f"{self.listed} images are listed but {total} are accounted for"
            raise ConservationError(message)


def load(folder: Path) -> tuple[Image, ...]:
    """Read dataset.csv and fractures.json of a FracAtlas-like folder."""
    boxes: dict[str, list[Box]] = {}
    for row in json.loads((folder / "fractures.json").read_text(encoding="utf-8")):
        x, y, width, height = (float(value) for value in row["bbox_xywh"])
        boxes.setdefault(row["image_id"], []).append((x, y, width, height))
    with (folder / "dataset.csv").open(encoding="utf-8", newline="") as handle:
        return tuple(_image(row, folder, boxes.get(row["image_id"], [])) for row in csv.DictReader(handle))


def _image(row: dict[str, str], folder: Path, boxes: list[Box]) -> Image:
    path = folder / "images" / row["image_id"]
    return Image(
        name=row["image_id"],
        fractured=row["fractured"] == "1",
        group=row["group"],
        regions=tuple(region for region in REGIONS if row[region] == "1"),
        hardware=row["hardware"] == "1",
        views=(row["frontal"] == "1", row["lateral"] == "1", row["oblique"] == "1"),
        multiscan=row["multiscan"] == "1",
        width=int(row["width"]),
        height=int(row["height"]),
        file_bytes=path.stat().st_size if path.exists() else 0,
        flags=tuple(flag.split(":")[0] for flag in row["flags"].split(";") if flag),
        eval_ok=row["eval_ok"] == "1",
        boxes=tuple(boxes),
    )


def account(images: Sequence[Image], readable: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], Conservation]:
    """Return which images are scored, and the count of where every one went."""
    scored = np.zeros(len(images), dtype=np.bool_)
    excluded: Counter[str] = Counter()
    failed = 0
    for index, image in enumerate(images):
        code = image.exclusion
        if code is not None:
            excluded[code] += 1
        elif not readable[index]:
            failed += 1
        else:
            scored[index] = True
    counts = Conservation(len(images), int(scored.sum()), dict(sorted(excluded.items())), failed)
    counts.check()
    return scored, counts


def assert_disjoint(train: Iterable[str], held_out: Iterable[str]) -> None:
    """Raise LeakError if a group is on both sides of a split."""
    shared = set(train) & set(held_out)
    if shared:
        message = f"{len(shared)} group(s) are on both sides of the split, such as {min(shared)!r}"
        raise LeakError(message)


def grouped_folds(images: Sequence[Image], count: int, seed: int) -> NDArray[np.int64]:
    """Return each image's fold: whole groups, with fractures spread as evenly as the groups allow."""
    groups = np.array([image.group for image in images])
    labels = np.array([image.fractured for image in images], dtype=np.int64)
    folds = np.full(len(images), -1, dtype=np.int64)
    splitter = StratifiedGroupKFold(n_splits=count, shuffle=True, random_state=seed)
    for fold, (train, held_out) in enumerate(splitter.split(labels, labels, groups)):
        assert_disjoint(groups[train].tolist(), groups[held_out].tolist())
        folds[held_out] = fold
    return folds
