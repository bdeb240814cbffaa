"""Labelled images as others keep them (MURA, class folders, a CSV, FracAtlas), read into one kind of row.

Reading lists, `vet` looks at every file; what cannot be used is a listed exclusion with a reason code, and what makes
figures worthless is a LabError. listed = used + excluded, always.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image as Picture
from sklearn.model_selection import StratifiedGroupKFold

from dicom_node.lab import dataset
from dicom_node.lab.progress import track
from dicom_node.lab.runs import LabError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    Keep = Callable[[int, NDArray[np.uint8]], None]

TRAIN: Final = "train"
VAL: Final = "val"
_FRACTURED: Final = "fractured"
_NOT_FRACTURED: Final = "not fractured"
_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png"})
_NEEDED: Final = ("image", "label", "group")
_LABELS: Final = {"1": True, "0": False, "true": True, "false": False, _FRACTURED: True, _NOT_FRACTURED: False}
_MURA_PARTS: Final = 6
_FOLDS: Final = 5


class Code(str, Enum):
    """Why a listed image is not used."""

    MISSING_FILE = "missing_file"
    UNREADABLE = "unreadable"
    TRUNCATED = "truncated"
    LABEL_CONFLICT = "label_conflict"
    SAME_FILE_IN_VAL = "same_file_in_val"
    UNLABELLED = "unlabelled"


@dataclass(frozen=True, slots=True)
class Row:
    """One labelled image: group is what may not be split (a patient), study holds the views that belong together.

    boxes: where the data set says the fractures are, (x, y, width, height) in pixels of the file.
    """

    path: Path
    label: bool
    group: str
    study: str
    region: str
    split: str
    boxes: tuple[dataset.Box, ...] = ()


@dataclass(frozen=True, slots=True)
class Excluded:
    """One listed image that is not used, and why: a Code, or the defect that the data set itself names."""

    path: Path
    code: str


@dataclass(frozen=True, slots=True)
class Listing:
    """What a data set lists: the rows in its own order, and what is not used of it."""

    rows: tuple[Row, ...]
    excluded: tuple[Excluded, ...]
    listed: int

    def check(self) -> None:
        """Raise unless every listed image is used or excluded, once."""
        if len(self.rows) + len(self.excluded) != self.listed:
            message = f"{self.listed} images are listed, {len(self.rows)} used and {len(self.excluded)} excluded"
            raise dataset.ConservationError(message)

    def counts(self) -> dict[str, object]:
        """Return the account of the images, for a report."""
        self.check()
        return {
            "listed": self.listed,
            "used": len(self.rows),
            "excluded": dict(sorted(Counter(one.code for one in self.excluded).items())),
            "by_split": {
                split: {
                    "images": len(part := [row for row in self.rows if row.split == split]),
                    _FRACTURED: sum(row.label for row in part),
                    "groups": len({row.group for row in part}),
                }
                for split in (TRAIN, VAL)
            },
        }


def read(place: Path, layout: str = "auto", seed: int = 1) -> Listing:
    """Return what a folder or CSV file lists; seed: of the split by group, where the data come without a split."""
    if not place.exists():
        message = f"{place}: there is no such folder or file"
        raise LabError(message)
    kind = detect(place) if layout == "auto" else layout
    readers = {"mura": _mura, "folder": _folder, "csv": _csv, "fracatlas": _fracatlas}
    try:
        listing = readers[kind](place)
    except (FileNotFoundError, NotADirectoryError) as error:
        message = f"{error.filename}: missing, but the {kind} layout needs it"
        raise LabError(message) from None
    except KeyError as error:
        message = f"{place}: no column {error} in its list of images"
        raise LabError(message) from None
    except ValueError as error:
        message = f"{place}: its list of images cannot be read ({error})"
        raise LabError(message) from None
    if not listing.listed:
        message = f"{place}: the {kind} layout finds no image here"
        raise LabError(message)
    rows = listing.rows if all(row.split for row in listing.rows) else _split(listing.rows, seed)
    found = replace(listing, rows=rows)
    found.check()
    return found


def detect(place: Path) -> str:
    """Return the layout of a folder or file by the names in it."""
    if place.is_file():
        return "csv"
    if (place / "train_image_paths.csv").exists():
        return "mura"
    if (place / "dataset.csv").exists():
        return "fracatlas"
    if (place / TRAIN).is_dir():
        return "folder"
    message = f"{place}: neither MURA (train_image_paths.csv), FracAtlas (dataset.csv) nor class folders (train/, val/)"
    raise LabError(message)


def _mura(root: Path) -> Listing:
    rows: list[Row] = []
    excluded: list[Excluded] = []
    for theirs, split in ((TRAIN, TRAIN), ("valid", VAL)):
        labels = dict(_mura_studies(root / f"{theirs}_labeled_studies.csv"))
        for number, line in _lines(root / f"{theirs}_image_paths.csv"):
            parts = Path(line).parts
            if len(parts) != _MURA_PARTS or not parts[4].endswith(("_positive", "_negative")):
                message = (
                    f"{theirs}_image_paths.csv line {number}: {line!r} is not MURA-v1.1/SPLIT/PART/PATIENT/STUDY/IMAGE"
                )
                raise LabError(message)
            # The first part is the data set's own folder, under whatever name it was unpacked.
            path = root.joinpath(*parts[1:])
            study = "/".join(parts[1:5])
            label = labels.get(study)
            if label is None:
                excluded.append(Excluded(path, Code.UNLABELLED.value))
            elif label != parts[4].endswith("_positive"):
                excluded.append(Excluded(path, Code.LABEL_CONFLICT.value))
            else:
                rows.append(Row(path, label, parts[3], study, parts[2].removeprefix("XR_").lower(), split))
    return Listing(tuple(rows), tuple(excluded), len(rows) + len(excluded))


def _mura_studies(path: Path) -> Iterable[tuple[str, bool]]:
    for number, line in _lines(path):
        study, _, label = line.rpartition(",")
        if label not in {"0", "1"}:
            message = f"{path.name} line {number}: the label {label!r} is neither 0 nor 1"
            raise LabError(message)
        yield "/".join(Path(study).parts[1:]), label == "1"


def _lines(path: Path) -> list[tuple[int, str]]:
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    return [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]


def _folder(root: Path) -> Listing:
    rows = []
    for split in (TRAIN, VAL):
        for name, label in ((_FRACTURED, True), (_NOT_FRACTURED, False)):
            folder = root / split / name
            for path in sorted(folder.iterdir()) if folder.is_dir() else _no_class(folder):
                if path.suffix.lower() in _SUFFIXES:
                    # These data sets name no patients: every image is its own, and only equal files show a leak.
                    own = f"{split}/{name}/{path.name}"
                    rows.append(Row(path, label, own, own, "", split))
    return Listing(tuple(rows), (), len(rows))


def _no_class(folder: Path) -> list[Path]:
    message = f"{folder}: missing; class folders are train/ and val/, each with 'fractured' and 'not fractured'"
    raise LabError(message)


def _csv(path: Path) -> Listing:
    with path.open(encoding="utf-8-sig", newline="") as handle:
        reader = csv.DictReader(handle)
        missing = [name for name in _NEEDED if name not in (reader.fieldnames or ())]
        if missing:
            message = f"{path.name}: no column {', '.join(missing)}; needed are {', '.join(_NEEDED)}"
            raise LabError(message)
        rows = tuple(_csv_row(row, path, reader.line_num) for row in reader)
    if len({bool(row.split) for row in rows}) > 1:
        message = f"{path.name}: some rows name a split and some do not"
        raise LabError(message)
    return Listing(rows, (), len(rows))


def _csv_row(row: dict[str, str], path: Path, line: int) -> Row:
    label = _LABELS.get((row["label"] or "").strip().lower())
    if label is None or not row["image"] or not row["group"]:
        message = f"{path.name} line {line}: an image, a group and a label of 0 or 1 are needed"
        raise LabError(message)
    split = {"valid": VAL, "validation": VAL}.get(row.get("split") or "", row.get("split") or "")
    if split not in {"", TRAIN, VAL}:
        message = f"{path.name} line {line}: the split {split!r} is neither train nor val"
        raise LabError(message)
    image = path.parent / row["image"]  # an absolute path stays what it is
    return Row(image, label, row["group"], row.get("study") or row["image"], row.get("region") or "", split)


def _fracatlas(root: Path) -> Listing:
    rows: list[Row] = []
    excluded: list[Excluded] = []
    images = dataset.load(root)
    for image in images:
        path = root / "images" / image.name
        if image.exclusion is not None:
            excluded.append(Excluded(path, image.exclusion))
        else:
            region = "+".join(image.regions)
            # Studies are not known here: every image is one of its own.
            rows.append(Row(path, image.fractured, image.group, image.name, region, "", image.boxes))
    return Listing(tuple(rows), tuple(excluded), len(images))


def _split(rows: Sequence[Row], seed: int) -> tuple[Row, ...]:
    """Give about a fifth to validation: whole groups, with fractures spread as evenly as the groups allow.

    Of the five possible fifths the one with the most groups: one large group alone would prove nothing by group.
    """
    groups = np.array([row.group for row in rows])
    labels = np.array([row.label for row in rows], dtype=np.int64)
    if len(set(groups.tolist())) < _FOLDS or labels.sum() < _FOLDS or (1 - labels).sum() < _FOLDS:
        message = (
            f"a split by group needs {_FOLDS} groups and {_FOLDS} images of each class; or name a split in the data"
        )
        raise LabError(message)
    splitter = StratifiedGroupKFold(n_splits=_FOLDS, shuffle=True, random_state=seed)
    fifths = [fifth for _, fifth in splitter.split(labels, labels, groups)]
    both = [fifth for fifth in fifths if 0 < labels[fifth].sum() < len(fifth)] or fifths
    held_out = max(both, key=lambda fifth: len(set(groups[fifth].tolist())))
    chosen = set(held_out.tolist())
    return tuple(replace(row, split=VAL if index in chosen else TRAIN) for index, row in enumerate(rows))


def vet(listing: Listing, keep: Keep | None = None) -> tuple[Listing, NDArray[np.int64]]:
    """Look at every file, and return what can be used and its rows' places in the listing that was given.

    keep: is handed each image that can be decoded (its place, and uint8 [rows, columns]) from several threads.
    Excluded are missing, unreadable and truncated files, identical files with contradictory labels, and training images
    that are also in validation. A group on both sides, or a class without images, is a LabError.
    """
    looked = _look_at_all(listing.rows, keep)
    codes = [code for code, _ in looked]
    for index, code in _same_files(listing.rows, looked):
        codes[index] = code
    used = np.array([index for index, code in enumerate(codes) if code is None], dtype=np.int64)
    bad = [Excluded(row.path, code.value) for row, code in zip(listing.rows, codes, strict=True) if code is not None]
    rows = tuple(listing.rows[index] for index in used.tolist())
    result = Listing(rows, (*listing.excluded, *bad), listing.listed)
    result.check()
    _refuse_leaks(rows)
    _refuse_empty(result)
    return result, used


def _look_at_all(rows: Sequence[Row], keep: Keep | None) -> list[tuple[Code | None, str]]:
    pool = ThreadPoolExecutor(max_workers=min(8, (os.cpu_count() or 1) + 1))
    try:
        waiting = [pool.submit(_look, index, row, keep) for index, row in enumerate(rows)]
        return [one.result() for one in track(waiting, "reading images")]
    finally:
        pool.shutdown(cancel_futures=True)  # at once after Ctrl-C, not after the last image


def _look(index: int, row: Row, keep: Keep | None) -> tuple[Code | None, str]:
    """Return why a file cannot be used, if so, and its digest."""
    try:
        data = row.path.read_bytes()
    except FileNotFoundError:
        return Code.MISSING_FILE, ""
    except OSError:
        return Code.UNREADABLE, ""
    try:
        grey = decode(data)
    except (OSError, ValueError, SyntaxError, Picture.DecompressionBombError) as error:
        return (Code.TRUNCATED if "truncated" in str(error).lower() else Code.UNREADABLE), ""
    if keep is not None:
        keep(index, grey)
    return None, hashlib.sha256(data).hexdigest()


def decode(data: bytes) -> NDArray[np.uint8]:
    """Return a picture's luma, uint8 [rows, columns]; raises OSError where the file is cut short or is no picture."""
    with Picture.open(io.BytesIO(data)) as picture:
        if picture.mode.startswith("I"):  # 16 bit: Pillow's own way to 8 bit depends on its version
            sixteen = np.clip(np.asarray(picture, dtype=np.float64), 0, 65535)
            return np.asarray(np.rint(sixteen / 257.0), dtype=np.uint8)
        return np.asarray(picture.convert("L"), dtype=np.uint8)


def _same_files(rows: Sequence[Row], looked: Sequence[tuple[Code | None, str]]) -> Iterable[tuple[int, Code]]:
    by_digest: dict[str, list[int]] = {}
    for index, (code, digest) in enumerate(looked):
        if code is None:
            by_digest.setdefault(digest, []).append(index)
    for same in by_digest.values():
        held_out = any(rows[index].split == VAL for index in same)
        if len({rows[index].label for index in same}) > 1:
            yield from ((index, Code.LABEL_CONFLICT) for index in same)
        elif held_out:
            yield from ((index, Code.SAME_FILE_IN_VAL) for index in same if rows[index].split == TRAIN)


def _refuse_leaks(rows: Sequence[Row]) -> None:
    sides = {split: {row.group for row in rows if row.split == split} for split in (TRAIN, VAL)}
    try:
        dataset.assert_disjoint(sides[TRAIN], sides[VAL])
    except dataset.LeakError as error:
        message = f"the split leaks: {error}; split the data by group (by patient)"
        raise LabError(message) from None


def _refuse_empty(listing: Listing) -> None:
    for split in (TRAIN, VAL):
        for label, name in ((True, _FRACTURED), (False, _NOT_FRACTURED)):
            if not any(row.split == split and row.label is label for row in listing.rows):
                why = Counter(one.code for one in listing.excluded)
                message = f"{split} has no usable {name} image (excluded so far: {dict(sorted(why.items()))})"
                raise LabError(message)
