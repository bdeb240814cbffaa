"""The pictures of a trained folder CNN: both ways agree, and heat lies where the map says."""

from __future__ import annotations

import argparse
import json
import os
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the lab needs torch: pip install 'dicom-node[lab]'")
pytest.importorskip("sklearn", reason="the lab needs scikit-learn: pip install 'dicom-node[lab]'")

from dicom_node.core.radiograph import InputGeometry  # noqa: E402 - after the skip
from dicom_node.inference.preprocess import LCN_LETTERBOX_512  # noqa: E402 - after the skip
from dicom_node.lab import gradcam, hybrid, overlays  # noqa: E402 - after the skip
from dicom_node.lab.commands import gradcam as command  # noqa: E402 - after the skip
from dicom_node.lab.commands import train  # noqa: E402 - after the skip
from dicom_node.lab.runs import LabError  # noqa: E402 - after the skip

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module", autouse=True)
def _reference() -> None:
    try:
        gradcam.load_reference()
    except LabError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))


def _parse(module: object, *options: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    return parser.parse_args([str(option) for option in options])


@pytest.fixture(scope="module")
def run(class_folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "folder-cnn"
    options = (
        "--system",
        "folder-cnn",
        "--side",
        64,
        "--epochs",
        3,
        "--rate",
        "1e-3",
        "--threads",
        1,
        "--device",
        "cpu",
    )
    assert train.run(_parse(train, "--data", class_folders, "--out", out, "--batch", 12, *options)) == 0
    return out


def test_folder_cnn_reports_its_figures_and_the_bad_file(run: Path) -> None:
    found = json.loads((run / "metrics.json").read_text())
    assert found["images"]["excluded"] == {"unreadable": 1}
    assert found["images"]["listed"] == 81
    at = found["validation"]["at_the_likelier_class"]
    assert at["true_positive"] + at["false_negative"] == 16 == at["true_negative"] + at["false_positive"]
    assert {"precision", "sensitivity", "specificity", "roc_auc"} <= set(at)
    assert json.loads((run / "config.json").read_text())["recipe"]["optimizer"] == "adam"
    assert "Folder-data CNN" in (run / "report.html").read_text()


def test_pictures_are_drawn_and_both_ways_agree(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.run(_parse(command, "--run", run, "--count", 2)) == 0
    found = json.loads((run / "gradcam" / "metrics.json").read_text())
    assert found["images"] == len(found["each"]) >= 2
    assert found["worst"]["grad_difference"] <= 1e-5
    assert found["worst"]["hires_difference"] <= 1e-5
    assert found["worst"]["residue"] <= 1e-3
    picture = cv2.imread(str(run / "gradcam" / "pictures" / found["each"][0]["picture"]))
    assert picture.shape == (overlays.HEIGHT + 44, 4 * 336 + 3 * 6, 3)
    assert "evidence sums to the score" in capsys.readouterr().out


def test_named_images_are_drawn(run: Path, class_folders: Path, tmp_path: Path) -> None:
    image = class_folders / "val" / "fractured" / "003.jpg"
    assert command.run(_parse(command, "--run", run, "--images", image, "--out", tmp_path / "one")) == 0
    assert [path.name for path in (tmp_path / "one" / "pictures").iterdir()] == ["01-given-003.png"]
    bad = class_folders / "train" / "fractured" / "broken.jpg"
    with pytest.raises(LabError, match="cannot be read as a picture"):
        command.run(_parse(command, "--run", run, "--images", bad, "--out", tmp_path / "two"))


def test_maps_that_differ_fail_the_command(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = gradcam.grad_cam
    monkeypatch.setattr(gradcam, "grad_cam", lambda *args: real(*args) * np.float32(1.01))
    with pytest.raises(LabError, match="the two ways do not agree"):
        command.run(_parse(command, "--run", run, "--count", 1, "--out", tmp_path / "out"))


def test_a_folder_without_a_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"holds no best\.pt"):
        command.run(_parse(command, "--run", tmp_path))


def test_evidence_is_red_where_it_speaks_for_a_fracture_and_blue_where_against() -> None:
    grey = np.full((70, 70), 100, dtype=np.uint8)
    evidence = np.zeros((7, 7), dtype=np.float32)
    evidence[1, 1], evidence[5, 5] = 2.0, -2.0
    geometry = InputGeometry(70, 70, 224, 224, 3.2, 3.2, 0.0, 0.0)
    drawn = overlays.signed(grey, evidence, geometry).astype(int)
    assert drawn[15, 15, 0] > 150 > drawn[15, 15, 2]
    assert drawn[55, 55, 2] > 150 > drawn[55, 55, 0]
    assert drawn[35, 35].tolist() == [100, 100, 100]


def test_letterbox_and_stretch_lie_on_the_image_as_they_were_made() -> None:
    grey = np.random.default_rng(1).integers(0, 255, (100, 50)).astype(np.uint8)
    stretch = hybrid.Shape("resnet18", 1, hybrid.STRETCH, 224).prepare(grey).geometry
    assert stretch.to_image(224, 224) == pytest.approx((100.0, 50.0))
    letterbox = hybrid.Shape("compact", 1, LCN_LETTERBOX_512, 512).prepare(grey).geometry
    assert letterbox.content == (0.0, 128.0, 512.0, 384.0)
    scaled = np.zeros((512, 512), dtype=np.float32)
    scaled[:, :128] = 1.0  # heat on the padding alone is not shown
    without = overlays.reference_overlay(grey, np.zeros_like(scaled), letterbox)
    assert np.array_equal(overlays.reference_overlay(grey, scaled, letterbox), without)
