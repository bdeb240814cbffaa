"""Embeddings of a labelled data set: a folder with features.npy (float32, a row an image) and index.csv."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from dicom_node.lab import dataset, shortcuts
from dicom_node.lab.cache import Cache
from dicom_node.lab.runs import LabError, read_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

FEATURES: Final = "features.npy"
INDEX: Final = "index.csv"
FACTS: Final = "facts.npy"
EMBEDDED, EXCLUDED, FAILED = "embedded", "excluded", "failed"
_COLUMNS: Final = ("image", "label", "group", "split", "status", "reason", "scored", "row", "regions", "hardware")
_NEEDED: Final = ("image", "label", "group")
_LABELS: Final = {"0": False, "1": True}


@dataclass(frozen=True, slots=True)
class Listing:
    """The images that were asked for: their folder, their descriptions, and each one's split name ('' for none)."""

    folder: Path
    images: tuple[dataset.Image, ...]
    splits: tuple[str, ...]

    @property
    def digest(self) -> str:
        """SHA-256 over names, sizes, labels and groups: another list is another run."""
        lines = [f"{one.name} {one.file_bytes} {one.fractured:d} {one.group}" for one in self.images]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def first(self, count: int) -> Listing:
        """Return the listing of the first images only."""
        return Listing(self.folder, self.images[:count], self.splits[:count])


def read_listing(path: Path) -> Listing:
    """Read a FracAtlas-like folder, or a CSV file with the columns image, label, group (and, if wanted, split).

    Raises LabError where a column is missing, a label is not 0 or 1, or an image is listed twice.
    """
    if path.is_dir():
        return _fracatlas(path)
    rows = _rows(path)
    folder = path.parent
    images, seen = [], set()
    for number, row in enumerate(rows, start=2):
        if row["label"] not in _LABELS or not row["image"] or not row["group"]:
            message = f"{path}: line {number}: needs an image, a group, and a label that is 0 or 1"
            raise LabError(message)
        if row["image"] in seen:
            message = f"{path}: line {number}: {row['image']} is listed twice; keep one of the lines"
            raise LabError(message)
        seen.add(row["image"])
        images.append(_plain(folder / row["image"], row))
    return Listing(folder, tuple(images), tuple(row.get("split") or "" for row in rows))


def _fracatlas(folder: Path) -> Listing:
    for name in ("dataset.csv", "fractures.json", "images"):
        if not (folder / name).exists():
            message = f"{folder}: has no {name}; give a folder of the FracAtlas layout or a CSV file image,label,group"
            raise LabError(message)
    with (folder / "dataset.csv").open(encoding="utf-8", newline="") as handle:
        splits = tuple(row.get("split") or "" for row in csv.DictReader(handle))
    return Listing(folder / "images", dataset.load(folder), splits)


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            reader = csv.DictReader(handle)
            rows = list(reader)
    except (OSError, UnicodeDecodeError) as error:
        message = f"{path}: cannot be read ({type(error).__name__}); give a folder or a CSV file in UTF-8"
        raise LabError(message) from None
    missing = [name for name in _NEEDED if name not in (reader.fieldnames or ())]
    if missing or not rows:
        what = f"has no column {', '.join(missing)}" if missing else "lists no image"
        message = f"{path}: {what}; its first line must be image,label,group"
        raise LabError(message)
    return rows


def _plain(path: Path, row: dict[str, str]) -> dataset.Image:
    return dataset.Image(
        name=row["image"],
        fractured=_LABELS[row["label"]],
        group=row["group"],
        regions=tuple(one for one in (row.get("regions") or "").split(";") if one),
        hardware=row.get("hardware") == "1",
        views=(False, False, False),
        multiscan=False,
        width=0,
        height=0,
        file_bytes=path.stat().st_size if path.exists() else 0,
        flags=(),
        eval_ok=True,
        boxes=(),
    )


def facts(images: Sequence[dataset.Image], intensity: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the non-anatomical facts of these images, the very ones of the default model's shortcut baseline."""
    n = len(images)
    empty = np.zeros((0,), dtype=np.float64)
    cache = Cache(empty.astype(np.int16), empty > 0, np.ones(n, dtype=np.bool_), empty, empty, intensity)
    return shortcuts.facts(images, cache)


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one listed image: status, the reason code where it was not embedded or is not scored, its row."""

    status: str
    reason: str
    scored: bool
    row: int


def account(rows: Sequence[Row]) -> dict[str, object]:
    """Return how many images were listed, embedded, excluded (by reason) and failed; raises where one went missing."""
    excluded = Counter(one.reason for one in rows if one.status == EXCLUDED)
    failed = Counter(one.reason for one in rows if one.status == FAILED)
    embedded = sum(one.status == EMBEDDED for one in rows)
    total = embedded + sum(excluded.values()) + sum(failed.values())
    if total != len(rows):
        message = f"{len(rows)} images are listed but {total} are accounted for"
        raise dataset.ConservationError(message)
    return {
        "listed": len(rows),
        "embedded": embedded,
        "excluded": dict(sorted(excluded.items())),
        "failed": dict(sorted(failed.items())),
    }


def write_index(folder: Path, listing: Listing, rows: Sequence[Row]) -> None:
    """Write index.csv, a line for every listed image whatever became of it."""
    aside = folder / f"{INDEX}.new"
    with aside.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(_COLUMNS)
        for image, split, row in zip(listing.images, listing.splits, rows, strict=True):
            flags = (int(row.scored), row.row, ";".join(image.regions), int(image.hardware))
            writer.writerow([image.name, int(image.fractured), image.group, split, row.status, row.reason, *flags])
    aside.replace(folder / INDEX)


@dataclass(frozen=True, slots=True)
class Embeddings:
    """The embedded images, row for row: features (a memory map [n, D]) and what is known of each image.

    shape: the grid and channels that a row unfolds to, in C order. listed: all images of the list; not_scored: the
    reason code and count of those that are not scored. known: whether the index has regions and hardware at all.
    """

    features: NDArray[np.float32]
    names: tuple[str, ...]
    labels: NDArray[np.bool_]
    groups: NDArray[np.str_]
    splits: NDArray[np.str_]
    scored: NDArray[np.bool_]
    regions: tuple[tuple[str, ...], ...]
    hardware: NDArray[np.bool_]
    facts: NDArray[np.float64] | None
    shape: tuple[int, int, int]
    listed: int
    excluded: dict[str, int]
    failed: int
    source: dict[str, object]


def load(folder: Path) -> Embeddings:
    """Return the embeddings in a folder; raises LabError where they are unfinished, or do not fit together."""
    config = read_json(folder / "config.json")
    if not (folder / INDEX).exists():
        message = f"{folder}: has no {INDEX}: run `dicom-node lab embed` again with the same options, it will go on"
        raise LabError(message)
    table = _table(folder / INDEX)
    kept = [row for row in table if row["status"] == EMBEDDED]
    features = _features(folder, kept, shape := _shape(config, folder))
    numbers = np.array([int(row["row"]) for row in kept], dtype=np.int64)
    if not np.array_equal(numbers, np.arange(len(features))):
        # Only where an image failed on the way: its row is passed over, at the price of a copy in memory.
        features = features[numbers]
    stored = np.load(folder / FACTS) if (folder / FACTS).exists() else None
    reasons = Counter(row["reason"] for row in table if row["scored"] != "1" and row["status"] != FAILED)
    return Embeddings(
        features=features,
        names=tuple(row["image"] for row in kept),
        labels=np.array([row["label"] == "1" for row in kept], dtype=np.bool_),
        groups=np.array([row["group"] for row in kept], dtype=np.str_),
        splits=np.array([row["split"] for row in kept], dtype=np.str_),
        scored=np.array([row["scored"] == "1" for row in kept], dtype=np.bool_),
        regions=tuple(tuple(one for one in row["regions"].split(";") if one) for row in kept),
        hardware=np.array([row["hardware"] == "1" for row in kept], dtype=np.bool_),
        facts=None if stored is None else stored[numbers],
        shape=shape,
        listed=len(table),
        excluded=dict(sorted(reasons.items())),
        failed=sum(row["status"] == FAILED for row in table),
        source=config,
    )


def _table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as handle:
        reader = csv.DictReader(handle)
        table = list(reader)
    missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        message = f"{path}: has no column {', '.join(missing)}; make it with `dicom-node lab embed`"
        raise LabError(message)
    return table


def _shape(config: dict[str, object], folder: Path) -> tuple[int, int, int]:
    found = config.get("shape")
    if not isinstance(found, list) or len(found) != 3 or not all(isinstance(one, int) and one > 0 for one in found):  # noqa: PLR2004 - rows, columns, channels
        message = f'{folder}/config.json: needs "shape": [rows, columns, channels] of the features'
        raise LabError(message)
    return found[0], found[1], found[2]


def _features(folder: Path, kept: Sequence[dict[str, str]], shape: tuple[int, int, int]) -> NDArray[np.float32]:
    try:
        features = np.load(folder / FEATURES, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        message = f"{folder / FEATURES}: cannot be read ({type(error).__name__}); make it with `dicom-node lab embed`"
        raise LabError(message) from None
    width = int(np.prod(shape))
    rows = max((int(row["row"]) for row in kept), default=-1) + 1
    if features.dtype != np.float32 or features.ndim != 2 or features.shape[1] != width or len(features) < rows:  # noqa: PLR2004 - a table
        message = f"{folder / FEATURES}: is {features.dtype} {features.shape}, needs float32 [{rows} or more, {width}]"
        raise LabError(message)
    if not kept:
        message = f"{folder}: holds no embedded image; see {INDEX} for the reasons"
        raise LabError(message)
    return np.asanyarray(features)


def read_failures(path: Path) -> dict[str, str]:
    """Return the images that could not be embedded so far, each with its reason code."""
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}
