"""A tiny labelled data set: limbs with a bone, half of them with a bright break and its box."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

if TYPE_CHECKING:
    from pathlib import Path

COLUMNS = [
    "image_id",
    "fractured",
    "fracture_count",
    "hand",
    "leg",
    "hip",
    "shoulder",
    "mixed",
    "hardware",
    "multiscan",
    "frontal",
    "lateral",
    "oblique",
    "width",
    "height",
    "split",
    "group",
    "eval_ok",
    "flags",
]


def _picture(random: np.random.Generator, *, broken: bool) -> tuple[np.ndarray, list[int]]:
    image = np.full((160, 120), 10.0)
    image[:, 30:90] = 90
    image[:, 50:70] = 160
    y = int(random.integers(40, 120))
    if broken:
        image[y : y + 10, 44:76] = 250
    image += random.normal(0, 4, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8), [44, y, 32, 10]


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny-fractures")
    (folder / "images").mkdir()
    random = np.random.default_rng(5)
    rows, boxes = [], []
    for index in range(72):
        broken = index % 2 == 1
        image, box = _picture(random, broken=broken)
        name = f"T{index:04d}.jpg"
        cv2.imwrite(str(folder / "images" / name), image)
        row = dict.fromkeys(COLUMNS, "0")
        flags = {0: "truncated_jpeg", 3: "label_conflict", 5: "guard", 7: "near_dup:T0009"}.get(index, "")
        row |= {"image_id": name, "fractured": str(int(broken)), "leg": "1", "frontal": "1", "width": "120"}
        row |= {"height": "160", "split": "dev_train", "group": str(index // 4), "flags": flags}
        row |= {"eval_ok": "0" if flags else "1", "hardware": "1" if index == 11 else "0"}
        rows.append(row)
        if broken:
            boxes.append({"image_id": name, "bbox_xywh": box, "polygon": []})
    with (folder / "dataset.csv").open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    (folder / "fractures.json").write_text(json.dumps(boxes), encoding="utf-8")
    (folder / "images" / "T0001.jpg").write_bytes(b"not a picture")
    return folder


def limb(random: np.random.Generator, *, broken: bool, side: int = 64) -> np.ndarray:
    """Return a limb with a bone; a broken one has a bright bar across it."""
    image = np.full((side, side - 8), 10.0)
    image[:, side // 4 : 3 * side // 4] = 90
    image[:, 3 * side // 8 : 5 * side // 8] = 150
    if broken:
        y = int(random.integers(side // 4, 3 * side // 4))
        image[y : y + side // 8, side // 3 : 2 * side // 3] = 250
    image += random.normal(0, 6, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def mura_like(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a MURA layout of 64-px limbs: two views a study, patients either in train or in valid."""
    root = tmp_path_factory.mktemp("mura") / "MURA-v1.1"
    random = np.random.default_rng(8)
    for split, first, count in (("train", 0, 30), ("valid", 100, 40)):
        paths, studies = [], []
        for patient in range(first, first + count):
            broken = patient % 2 == 1
            part = "XR_WRIST" if patient % 3 else "XR_HAND"
            word = "positive" if broken else "negative"
            study = f"{split}/{part}/patient{patient:05d}/study1_{word}"
            (root / study).mkdir(parents=True)
            studies.append(f"MURA-v1.1/{study}/,{int(broken)}")
            for view in (1, 2):
                cv2.imwrite(str(root / study / f"image{view}.png"), limb(random, broken=broken))
                paths.append(f"MURA-v1.1/{study}/image{view}.png")
        (root / f"{split}_image_paths.csv").write_text("\n".join(paths) + "\n", encoding="utf-8")
        (root / f"{split}_labeled_studies.csv").write_text("\n".join(studies) + "\n", encoding="utf-8")
    return root


@pytest.fixture(scope="session")
def class_folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return class folders of 64-px limbs, with one file that is no picture."""
    root = tmp_path_factory.mktemp("folders")
    random = np.random.default_rng(9)
    for split, count in (("train", 24), ("val", 16)):
        for name in ("fractured", "not fractured"):
            (root / split / name).mkdir(parents=True)
            for index in range(count):
                cv2.imwrite(str(root / split / name / f"{index:03d}.jpg"), limb(random, broken=name == "fractured"))
    (root / "train" / "fractured" / "broken.jpg").write_bytes(b"not a picture")
    return root
