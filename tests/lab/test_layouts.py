"""Every layout becomes the same rows, and what is wrong with the data is said or counted, never swallowed."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the lab needs scikit-learn: pip install 'dicom-node[lab]'")
pytest.importorskip("PIL", reason="the lab needs Pillow: pip install 'dicom-node[lab]'")

from dicom_node.lab import layouts
from dicom_node.lab.dataset import ConservationError
from dicom_node.lab.runs import LabError


def draw(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    grey = np.random.default_rng(seed).integers(0, 256, (40, 30)).astype(np.uint8)
    assert cv2.imwrite(str(path), grey)
    return path


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    seed = 0
    for split in ("train", "val"):
        for name in ("fractured", "not fractured"):
            for index in range(3):
                seed += 1
                draw(tmp_path / "set" / split / name / f"{index}.jpg", seed)
    return tmp_path / "set"


@pytest.fixture
def mura(tmp_path: Path) -> Path:
    root = tmp_path / "MURA-v1.1"
    seed = 100
    for split, patients in (("train", (1, 2, 3)), ("valid", (4, 5))):
        paths, studies = [], []
        for patient in patients:
            word = "positive" if patient % 2 else "negative"
            study = f"MURA-v1.1/{split}/XR_WRIST/patient{patient:05d}/study1_{word}"
            studies.append(f"{study}/,{patient % 2}")
            for image in (1, 2):
                seed += 1
                paths.append(f"{study}/image{image}.png")
                draw(tmp_path / paths[-1], seed)
        (root / f"{split}_image_paths.csv").write_text("\n".join(paths) + "\n")
        (root / f"{split}_labeled_studies.csv").write_text("\n".join(studies) + "\n")
    return root


def _write(path: Path, header: list[str], rows: list[list[str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([header, *rows])
    return path


def _table(folder: Path, count: int = 20) -> list[list[str]]:
    rows = []
    for index in range(count):
        draw(folder / f"{index}.png", 200 + index)
        rows.append([f"{index}.png", str(index // 2 % 2), f"patient-{index // 2}"])
    return rows


def _codes(listing: layouts.Listing) -> dict[str, int]:
    return dict(listing.counts()["excluded"])


def test_class_folders(folders: Path) -> None:
    listing = layouts.read(folders)
    assert listing.listed == len(listing.rows) == 12
    assert {(row.split, row.label) for row in listing.rows} == {(s, y) for s in ("train", "val") for y in (True, False)}
    used, places = layouts.vet(listing)
    assert places.tolist() == list(range(12))
    assert used.counts()["by_split"]["val"] == {"images": 6, "fractured": 3, "groups": 6}


def test_mura_groups_by_patient_and_labels_by_study(mura: Path) -> None:
    listing = layouts.read(mura)
    assert listing.listed == 10
    first = listing.rows[0]
    assert (first.group, first.region, first.split, first.label) == ("patient00001", "wrist", "train", True)
    assert first.study == "train/XR_WRIST/patient00001/study1_positive"
    assert first.path == mura / "train/XR_WRIST/patient00001/study1_positive/image1.png"
    assert sum(row.split == "val" for row in layouts.vet(listing)[0].rows) == 4


def test_mura_contradictions_and_gaps_are_listed(mura: Path) -> None:
    path = mura / "train_labeled_studies.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0].removesuffix("1") + "0", *lines[2:]]))
    listing = layouts.read(mura)
    assert _codes(listing) == {"label_conflict": 2, "unlabelled": 2}
    assert listing.listed == 10


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("train_image_paths.csv", "MURA-v1.1/train/image1.png\n", "line 1: .* is not MURA-v1.1/SPLIT"),
        ("valid_labeled_studies.csv", "MURA-v1.1/valid/XR_WRIST/p/study1_positive/,yes\n", "neither 0 nor 1"),
        ("valid_labeled_studies.csv", None, "valid_labeled_studies.csv: missing, but the mura layout needs it"),
    ],
)
def test_broken_mura_lists_are_refused(mura: Path, name: str, text: str | None, words: str) -> None:
    (mura / name).unlink()
    if text is not None:
        (mura / name).write_text(text)
    with pytest.raises(LabError, match=words):
        layouts.read(mura)


def test_csv_is_split_by_group_with_both_classes(tmp_path: Path) -> None:
    table = _write(tmp_path / "list.csv", ["image", "label", "group"], _table(tmp_path))
    listing, _ = layouts.vet(layouts.read(table, seed=3))
    by_split = {split: {row.group for row in listing.rows if row.split == split} for split in ("train", "val")}
    assert not by_split["train"] & by_split["val"]
    assert len(listing.rows) == 20
    assert layouts.read(table, seed=3) == layouts.read(table, seed=3)


def test_validation_is_many_groups_and_not_one_large_one(tmp_path: Path) -> None:
    rows = _table(tmp_path, 60)
    for index, row in enumerate(rows[:12]):
        row[1:] = [str(int(index % 4 > 0)), "large"]
    for seed in range(5):
        listing = layouts.read(_write(tmp_path / "list.csv", ["image", "label", "group"], rows), seed=seed)
        groups = {row.group for row in listing.rows if row.split == "val"}
        assert "large" not in groups
        assert len(groups) > 4


def test_csv_columns_beyond_the_needed_are_read(tmp_path: Path) -> None:
    rows = [
        [*row, f"study-{i // 4}", "hand", "valid" if i >= 16 else "train"] for i, row in enumerate(_table(tmp_path))
    ]
    header = ["image", "label", "group", "study", "region", "split"]
    listing = layouts.read(_write(tmp_path / "list.csv", header, rows))
    assert (listing.rows[0].study, listing.rows[0].region) == ("study-0", "hand")
    assert [row.split for row in listing.rows].count("val") == 4


@pytest.mark.parametrize(
    ("header", "row", "words"),
    [
        (["image", "label"], ["a.png", "1"], "no column group"),
        (["image", "label", "group"], ["a.png", "maybe", "1"], "line 2: an image, a group and a label"),
        (["image", "label", "group"], ["a.png", "1", ""], "line 2: an image, a group and a label"),
        (["image", "label", "group", "split"], ["a.png", "1", "1", "test"], "'test' is neither train nor val"),
        (["image", "label", "group"], ["a.png", "1", "1"], "a split by group needs 5 groups"),
    ],
)
def test_broken_csv_is_refused(tmp_path: Path, header: list[str], row: list[str], words: str) -> None:
    with pytest.raises(LabError, match=words):
        layouts.read(_write(tmp_path / "list.csv", header, [row]))


def test_fracatlas_keeps_its_own_reasons_and_its_boxes(tiny_data: Path) -> None:
    listing = layouts.read(tiny_data)
    assert all(bool(row.boxes) == row.label for row in listing.rows)
    assert listing.listed == 72
    assert _codes(listing) == {"guard": 1, "label_conflict": 1, "near_dup": 1, "truncated_jpeg": 1}
    vetted, places = layouts.vet(listing)
    assert _codes(vetted)["unreadable"] == 1  # T0001.jpg is no picture
    assert len(places) == len(vetted.rows) == 67
    assert vetted.rows[0].region == "leg"


def test_a_fracatlas_list_without_a_column_is_refused(tiny_data: Path, tmp_path: Path) -> None:
    shutil.copy(tiny_data / "fractures.json", tmp_path)
    text = (tiny_data / "dataset.csv").read_text()
    (tmp_path / "dataset.csv").write_text(text.replace("group", "crowd", 1))
    with pytest.raises(LabError, match="no column 'group'"):
        layouts.read(tmp_path)


def test_bad_files_are_listed_with_their_reason_and_nothing_is_lost(folders: Path) -> None:
    train = folders / "train"
    listing = layouts.read(folders)
    (train / "fractured" / "0.jpg").unlink()
    whole = (train / "fractured" / "1.jpg").read_bytes()
    (train / "fractured" / "1.jpg").write_bytes(whole[: len(whole) // 2])
    (train / "not fractured" / "0.jpg").write_bytes(b"not a picture")
    shutil.copy(folders / "val" / "not fractured" / "0.jpg", train / "not fractured" / "1.jpg")
    seen: dict[int, tuple[int, ...]] = {}
    vetted, places = layouts.vet(listing, lambda index, grey: seen.__setitem__(index, grey.shape))
    assert _codes(vetted) == {"missing_file": 1, "truncated": 1, "unreadable": 1, "same_file_in_val": 1}
    assert vetted.listed == 12 == len(vetted.rows) + len(vetted.excluded)
    assert [listing.rows[place] for place in places] == list(vetted.rows)
    assert set(places.tolist()) <= set(seen)
    assert set(seen.values()) == {(40, 30)}


def test_a_cut_png_is_truncated_too(tmp_path: Path) -> None:
    data = draw(tmp_path / "a.png", 1).read_bytes()
    with pytest.raises((OSError, SyntaxError), match=r"(?i)truncated"):
        layouts.decode(data[: len(data) * 2 // 3])


def test_sixteen_bits_and_colours_become_luma(tmp_path: Path) -> None:
    grey = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)
    assert cv2.imwrite(str(tmp_path / "deep.png"), grey)
    assert layouts.decode((tmp_path / "deep.png").read_bytes()).ravel().tolist() == list(range(256))
    assert cv2.imwrite(str(tmp_path / "colour.png"), np.full((4, 4, 3), 90, dtype=np.uint8))
    assert (layouts.decode((tmp_path / "colour.png").read_bytes()) == 90).all()


def test_identical_files_with_contradictory_labels_are_both_excluded(folders: Path) -> None:
    shutil.copy(folders / "train" / "fractured" / "0.jpg", folders / "train" / "not fractured" / "0.jpg")
    vetted, _ = layouts.vet(layouts.read(folders))
    assert _codes(vetted) == {"label_conflict": 2}


def test_a_group_on_both_sides_is_refused(tmp_path: Path) -> None:
    rows = [[*row, "train" if index % 4 < 3 else "val"] for index, row in enumerate(_table(tmp_path))]
    rows.append(["0.png", "1", "another", "val"])
    table = _write(tmp_path / "list.csv", ["image", "label", "group", "split"], rows)
    with pytest.raises(LabError, match=r"the split leaks: .* on both sides"):
        layouts.vet(layouts.read(table))


def test_an_empty_class_is_refused(folders: Path) -> None:
    for path in (folders / "val" / "fractured").iterdir():
        path.write_bytes(b"")
    with pytest.raises(LabError, match=r"val has no usable fractured image \(excluded so far: {'unreadable': 3}\)"):
        layouts.vet(layouts.read(folders))
    shutil.rmtree(folders / "val" / "fractured")
    with pytest.raises(LabError, match="class folders are train/ and val/"):
        layouts.read(folders)


def test_what_is_no_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="neither MURA"):
        layouts.read(tmp_path)
    with pytest.raises(LabError, match="there is no such folder"):
        layouts.read(tmp_path / "nowhere")


def test_a_lost_image_is_noticed() -> None:
    with pytest.raises(ConservationError, match="3 images are listed, 0 used and 0 excluded"):
        layouts.Listing((), (), 3).check()
