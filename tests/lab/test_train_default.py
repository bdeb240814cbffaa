"""The whole way on a toy budget: images to bundle, and the bundle answers as the trained network does."""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the lab needs torch: pip install 'dicom-node[lab]'")
pytest.importorskip("onnxscript", reason="the lab needs onnxscript: pip install 'dicom-node[lab]'")

import onnxruntime  # noqa: E402 - after the skip
from safetensors.numpy import load_file  # noqa: E402 - after the skip

from dicom_node.cli.main import main  # noqa: E402 - after the skip
from dicom_node.inference.bundle import load_bundle  # noqa: E402 - after the skip
from dicom_node.inference.preprocess import LCN_LETTERBOX_512, prepare  # noqa: E402 - after the skip
from dicom_node.lab import bundle_files, command, experiment, head  # noqa: E402 - after the skip
from dicom_node.lab.cache import read_grey  # noqa: E402 - after the skip
from dicom_node.lab.commands import train_default  # noqa: E402 - after the skip
from dicom_node.lab.sampling import cell_targets  # noqa: E402 - after the skip

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def _arguments(tiny_data: Path, out: Path, runs: Path) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    options = ["--steps", "24", "--folds", "2", "--jobs", "1", "--threads", "1", "--seed", "3"]
    options += ["--network", "compact", "--start", "scratch"]  # seconds instead of minutes
    return parser.parse_args(
        ["train-default", "--data", str(tiny_data), "--out", str(out), "--runs", str(runs), *options]
    )


@pytest.fixture(scope="module")
def bundle(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lab")
    out = folder / "engines" / "toy"
    assert command.run(_arguments(tiny_data, out, folder / "runs")) == 0
    return out


@pytest.fixture(scope="module")
def manifest(bundle: Path) -> dict[str, Any]:
    return tomllib.loads((bundle / "manifest.toml").read_text(encoding="utf-8"))


def test_bundle_holds_the_contracted_files_and_nothing_beside_it(bundle: Path) -> None:
    names = {"manifest.toml", "embedder.onnx", "head.safetensors", "NOTICE", "MODEL_CARD.md", "metrics.json"}
    assert {path.name for path in bundle.iterdir()} == names | {"SHA256SUMS"}
    assert [path.name for path in bundle.parent.iterdir()] == ["toy"]
    for line in (bundle / "SHA256SUMS").read_text(encoding="utf-8").splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((bundle / name).read_bytes()).hexdigest() == digest


def test_the_onnx_file_says_nothing_of_the_machine_that_made_it(bundle: Path) -> None:
    content = (bundle / "embedder.onnx").read_bytes()
    assert b"stack_trace" not in content
    assert str(Path(__file__).parents[2]).encode() not in content


def test_manifest_states_data_command_and_bound(manifest: dict[str, Any]) -> None:
    assert manifest["schema"] == 1
    assert manifest["demonstration"] is True
    assert manifest["embedder"]["output_shape"] == [1, 32, 32, 96]
    assert 0.0 <= manifest["gate"]["p_low"] <= manifest["gate"]["p_high"] <= 1.0
    assert manifest["gate"]["map"] == "localiser"
    assert manifest["gate"]["bound"]["positives"] == manifest["metrics"]["fractured"]
    assert "lab train-default" in manifest["training"]["command"]
    assert not {"CHEST", "SPINE", "SKULL"} & set(manifest["intended_use"]["body_parts"])


def test_onnx_head_and_localiser_make_one_model(bundle: Path, tiny_data: Path, manifest: dict[str, Any]) -> None:
    tensors = load_file(str(bundle / "head.safetensors"))
    assert tensors["weight"].shape == (8, 8, 96)
    assert all(value.dtype == np.float32 for value in tensors.values())
    session = onnxruntime.InferenceSession(str(bundle / "embedder.onnx"), providers=["CPUExecutionProvider"])
    grey = read_grey(tiny_data / "images" / "T0013.jpg")
    assert grey is not None
    (features,) = session.run(["features"], {"image": prepare(LCN_LETTERBOX_512, grey).tensor})
    assert features.shape == (1, 32, 32, 96)
    pool = manifest["embedder"]["pool"]
    pooled = features[0].reshape(8, pool, 8, pool, 96).mean((1, 3))
    z = float((tensors["weight"] * pooled).sum() + tensors["bias"][0])
    spread = np.repeat(np.repeat(tensors["weight"], pool, 0), pool, 1) / pool**2
    evidence = (spread * features[0]).sum(-1)
    assert float(evidence.sum() + tensors["bias"][0]) == pytest.approx(z, abs=1e-3)
    logits = features[0] @ tensors["localiser_weight"] + tensors["localiser_bias"]
    assert logits.shape == (32, 32)


def test_card_says_what_it_is_and_how_it_was_made(bundle: Path) -> None:
    text = (bundle / "MODEL_CARD.md").read_text(encoding="utf-8")
    for words in ("not a medical device", "FracAtlas", "72 images listed", "lab train-default", "shortcuts alone"):
        assert words in text
    assert not {"nan", "nan%"} & set(text.lower().split())


def test_report_conserves_the_images(bundle: Path) -> None:
    counts = json.loads((bundle / "metrics.json").read_text(encoding="utf-8"))["counts"]
    assert counts["listed"] == counts["scored"] + sum(counts["excluded"].values()) + counts["failed"]
    assert counts["failed"] == 1


def test_the_card_is_what_its_files_say_and_is_written_anew_from_them(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "toy"
    shutil.copytree(bundle, copy)
    assert main(["lab", "card", str(copy)]) == 0
    assert "already says what was measured" in capsys.readouterr().out
    measured = json.loads((copy / "metrics.json").read_text(encoding="utf-8"))
    measured["evaluation"]["auc"] = 0.4321
    (copy / "metrics.json").write_text(json.dumps(measured), encoding="utf-8")
    bundle_files.write_sums(copy)
    assert main(["lab", "card", str(copy), "--quiet"]) == 0
    assert "written anew" in capsys.readouterr().out
    assert "| AUC, pooled | 0.432 |" in (copy / "MODEL_CARD.md").read_text(encoding="utf-8")
    load_bundle(copy)


def test_the_run_folder_holds_a_report_that_needs_no_network(bundle: Path) -> None:
    (folder,) = {path.parent for path in (bundle.parent.parent / "runs").glob("*/config.json")}
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert 'src="http' not in page
    assert "<script" not in page
    assert page.count("data:image/png;base64,") >= 7
    for words in ("What was aimed at", "p_low", "Best and worst cases", "shortcuts alone"):
        assert words in page
    names = {path.stem for path in (folder / "pictures").glob("*.png")}
    assert {"roc", "precision-recall", "reliability", "risk-coverage", "outcomes-certified", "cases"} <= names
    found = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["evaluation"]
    assert found["images"] == sum(
        found["policies"][0]["figures"][key] for key in ("positive", "negative", "inconclusive")
    )


def test_finished_stages_are_not_trained_again(bundle: Path, tiny_data: Path) -> None:
    plan = train_default.plan_of(_arguments(tiny_data, bundle, bundle.parent.parent / "runs").lab_arguments)
    before = {path: path.stat().st_mtime_ns for path in plan.run_folder.glob("*.pt")}
    assert len(before) == 3
    experiment.train_all(plan, experiment.gather(plan))
    assert {path: path.stat().st_mtime_ns for path in plan.run_folder.glob("*.pt")} == before


def test_the_head_over_the_grid_is_the_layer_on_the_mean() -> None:
    random = np.random.default_rng(8)
    pooled = random.normal(3.0, 2.0, (20, 8, 8, 96)).astype(np.float32)
    layer = torch.nn.Linear(96, 1)
    with torch.no_grad():
        wanted = layer(torch.from_numpy(pooled.mean((1, 2))))[:, 0].numpy()
    assert head.of(layer).logits(pooled) == pytest.approx(wanted, abs=1e-5)


def test_small_boxes_keep_their_best_cell() -> None:
    mask = torch.zeros((2, 64, 64))
    mask[0, 18:22, 18:22] = 1.0
    mask[1, 16:48, 16:32] = 1.0
    mask[1, 48:50, 16:32] = 1.0
    cells = cell_targets(mask)
    assert (cells[0] == 1).nonzero().tolist() == [[1, 1]]
    assert (cells[1] == 1).nonzero().tolist() == [[1, 1], [2, 1]]
    assert (cells[1] == -1).nonzero().tolist() == [[3, 1]]
