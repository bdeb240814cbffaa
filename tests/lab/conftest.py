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
