"""`lab export`: embeddings, head and bundle for real, and the bundle answers as the probe does or is not written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the lab needs scikit-learn: pip install 'dicom-node[lab]'")
pytest.importorskip("torch", reason="the lab needs torch: pip install 'dicom-node[lab]'")
pytest.importorskip("onnxscript", reason="the lab needs onnxscript: pip install 'dicom-node[lab]'")

import joblib
from safetensors.numpy import load_file, save_file

from dicom_node.cli.main import main
from dicom_node.inference import head
from dicom_node.inference.bundle import load_bundle
from dicom_node.lab import bundle_files

BUNDLE = Path(__file__).parents[2] / "engines" / "compact-fracatlas"


def _lab(*words: Any) -> int:
    return main(["lab", *map(str, words)])


def _limb(random: np.random.Generator, *, broken: bool) -> np.ndarray:
    image = np.full((160, 120), 10.0)
    image[:, 30:90], image[:, 50:70] = 90, 160
    if broken:
        image[70:80, 44:76] = 250
    return np.clip(image + random.normal(0, 4, image.shape), 0, 255).astype(np.uint8)


def _evidence_only(folder: Path) -> Path:
    """Return a copy of the shipped bundle without its localiser: one whose map is the evidence."""
    shutil.copytree(BUNDLE, folder, ignore=shutil.ignore_patterns("*.plan"))
    tables = load_bundle(BUNDLE).manifest.model_dump(by_alias=True, exclude_none=True, mode="json")
    tables["head"]["localiser"], tables["gate"]["map"] = False, "evidence"
    (folder / "manifest.toml").write_text(bundle_files.to_toml(tables), encoding="utf-8")
    held = load_file(str(folder / "head.safetensors"))
    save_file({name: held[name] for name in ("weight", "bias")}, str(folder / "head.safetensors"))
    bundle_files.write_sums(folder)
    return folder


class Material:
    """A list of pictures, embeddings of it and a head run, for a bundle."""

    def __init__(self, folder: Path, bundle: Path) -> None:
        self.bundle, self.data, self.run = bundle, folder / "list.csv", folder / "head"
        random = np.random.default_rng(1)
        lines = ["image,label,group"]
        for index in range(32):
            cv2.imwrite(str(folder / f"{index}.png"), _limb(random, broken=index % 2 == 1))
            lines.append(f"{index}.png,{index % 2},p{index // 2}")
        self.data.write_text("\n".join(lines) + "\n", encoding="utf-8")
        assert _lab("embed", "--data", self.data, "--bundle", bundle, "--out", folder / "embeddings") == 0
        words = ("--folds", 3, "--bootstraps", 20, "--strength", 1e-4)
        assert _lab("head", folder / "embeddings", "--out", self.run, *words) == 0

    def export(self, out: Path, run: Path | None = None, bundle: Path | None = None) -> int:
        words = ("--bundle", bundle or self.bundle, "--data", self.data, "--out", out)
        return _lab("export", run or self.run, *words)


@pytest.fixture(scope="module", params=["localiser", "evidence"])
def material(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Material:
    folder = tmp_path_factory.mktemp("export")
    return Material(folder, BUNDLE if request.param == "localiser" else _evidence_only(folder / "evidence-only"))


def test_the_exported_bundle_is_complete_and_is_the_probe(material: Material, tmp_path: Path) -> None:
    assert material.export(tmp_path / "probe-x") == 0
    made, base = load_bundle(tmp_path / "probe-x"), load_bundle(material.bundle)
    assert made.manifest.name == "probe-x"
    assert made.gate_map == base.gate_map
    assert made.manifest.metrics["acceptance_images"] == 32
    assert made.manifest.metrics["acceptance_largest_logit_difference"] <= 1e-3
    assert (made.head.localiser_weight is None) == (base.head.localiser_weight is None)
    # An embedding, through scikit-learn and through the served head.
    held = joblib.load(material.run / "probe.joblib")
    row = np.load(material.run.parent / "embeddings" / "features.npy")[3].astype(np.float64)
    wanted = held["model"].decision_function(held["scaler"].transform(row[None]))[0]
    grid = (*made.manifest.head.grid, made.manifest.head.channels)
    assert head.logit(row.astype(np.float32).reshape(grid), made.head, 1) == pytest.approx(wanted, abs=1e-3)
    platt = json.loads((material.run / "metrics.json").read_text(encoding="utf-8"))["calibration"]["platt"]
    assert (made.manifest.calibration.a, made.manifest.calibration.d) == pytest.approx((platt["a"], platt["d"]))
    if material.bundle == BUNDLE:
        assert (made.gate.entropy_max, made.gate.area_max) == (base.gate.entropy_max, base.gate.area_max)


def test_the_card_is_written_from_the_figures(material: Material, tmp_path: Path) -> None:
    assert material.export(tmp_path / "probe-x") == 0
    text = (tmp_path / "probe-x" / "MODEL_CARD.md").read_text(encoding="utf-8")
    for words in (
        "not a medical device",
        "32 images listed",
        "32 images through the node's own pipeline",
        "lab export",
    ):
        assert words in text
    assert "Not tried yet" not in text
    assert str(tmp_path) not in text


def test_a_head_that_is_not_the_probe_is_not_written(
    material: Material, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "head"
    shutil.copytree(material.run, run)
    tensors = load_file(str(run / "head.safetensors"))
    save_file({"weight": tensors["weight"][::-1].copy(), "bias": tensors["bias"]}, str(run / "head.safetensors"))
    assert material.export(tmp_path / "probe-x", run=run) == 1
    assert "does not answer as the probe does" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"head"}


def test_another_embedder_an_unfinished_run_and_a_taken_place_are_refused(
    material: Material, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = BUNDLE if material.bundle != BUNDLE else _evidence_only(tmp_path / "other")
    assert material.export(tmp_path / "probe-x", bundle=other) == 1
    assert "was fitted on embeddings of" in capsys.readouterr().err
    assert material.export(tmp_path / "probe-x", run=material.run.parent / "embeddings") == 1
    assert "is not the folder of a finished `dicom-node lab head` run" in capsys.readouterr().err
    assert material.export(tmp_path / "Probe X") == 1
    assert "rename the folder" in capsys.readouterr().err
    (tmp_path / "taken").mkdir()
    assert material.export(tmp_path / "taken") == 1
    assert "exists; give a new folder" in capsys.readouterr().err
