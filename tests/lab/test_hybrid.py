"""The triage's classifier on toy data: trained, interrupted and resumed, and its maps sum to its scores."""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="the lab needs torch: pip install 'dicom-node[lab]'")
pytest.importorskip("sklearn", reason="the lab needs scikit-learn: pip install 'dicom-node[lab]'")

from dicom_node.inference.preprocess import LCN_LETTERBOX_512, prepare  # noqa: E402 - after the skip
from dicom_node.lab import hybrid, hybrid_run, hybrid_train, layouts  # noqa: E402 - after the skip
from dicom_node.lab.commands import train as command  # noqa: E402 - after the skip
from dicom_node.lab.resnet import ResNet18  # noqa: E402 - after the skip
from dicom_node.lab.runs import LabError  # noqa: E402 - after the skip

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = hybrid.Shape("compact", 1, hybrid.STRETCH, 64)
QUICK = ("--side", "64", "--epochs", "4", "--batch", "16", "--rate", "2e-3", "--threads", "1", "--device", "cpu")


def arguments(data: Path, out: Path, *more: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(["--data", str(data), "--out", str(out), *QUICK, *more])


@pytest.fixture(scope="module")
def trained(mura_like: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "hybrid"
    assert command.run(arguments(mura_like, out, "--network", "compact")) == 0
    return out


def test_run_folder_is_complete_and_the_toy_is_learnt(trained: Path) -> None:
    names = {path.name for path in trained.iterdir()}
    assert {"config.json", "log.txt", "metrics.json", "report.html", "best.pt", "scores.csv", "maps.npz"} <= names
    found = json.loads((trained / "metrics.json").read_text())
    assert found["images"]["listed"] == 140 == found["images"]["used"]
    assert found["validation"]["roc_auc"] > 0.9
    assert found["evidence_residue"] <= 1e-3
    assert found["pos_weight"] == pytest.approx(1.0)
    page = (trained / "report.html").read_text()
    assert "140 listed = 140 used + 0 excluded" in page
    assert "http://" not in page
    assert 'src="data:image/png' in page
    assert "Best and worst cases" in page
    assert cv2.imread(str(trained / "pictures" / "cases.png")).shape[1] == 1000


def test_scores_and_maps_belong_together(trained: Path) -> None:
    images, cases = hybrid_run.load_cases(trained)
    assert len(images) == len(cases.z) == 80
    assert cases.maps.shape == cases.body.shape == (80, 4, 4)
    assert cases.labels.sum() == 40
    assert set(cases.regions.tolist()) == {"wrist", "hand"}
    with (trained / "scores.csv").open(newline="") as handle:
        row = next(csv.DictReader(handle))
    assert float(row["p"]) == pytest.approx(1 / (1 + np.exp(-float(row["z"]))), abs=1e-6)


def test_scores_of_another_run_are_refused(trained: Path, tmp_path: Path) -> None:
    for name in ("scores.csv", "maps.npz"):
        (tmp_path / name).write_bytes((trained / name).read_bytes())
    lines = (tmp_path / "scores.csv").read_text().splitlines()
    (tmp_path / "scores.csv").write_text("\n".join([lines[0], *lines[3:], *lines[1:3]]))
    with pytest.raises(LabError, match="are not of one run"):
        hybrid_run.load_cases(tmp_path)
    with pytest.raises(LabError, match="give the folder of a finished"):
        hybrid_run.load_cases(tmp_path / "nowhere")


def _recipe(**changes: Any) -> hybrid_train.Recipe:
    plain = hybrid_train.Recipe("adamw", 1e-3, 1e-4, 16, 3, 5, weighting=True, augment=True, seed=7)
    return replace(plain, **changes)


def _task(mura_like: Path, folder: Path, recipe: hybrid_train.Recipe) -> hybrid_train.Task:
    folder.mkdir(exist_ok=True)
    torch.manual_seed(recipe.seed)
    material = hybrid.gather(layouts.read(mura_like), SHAPE, folder)
    return hybrid_train.Task(hybrid.build(SHAPE), SHAPE, material, recipe, folder)


def test_an_interrupted_run_ends_as_an_uninterrupted_one(
    mura_like: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = hybrid_train.train(_task(mura_like, tmp_path / "whole", _recipe()))
    real = hybrid_train.validate
    calls: list[int] = []

    def interrupted(*args: Any) -> tuple[float, float]:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(hybrid_train, "validate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        hybrid_train.train(_task(mura_like, tmp_path / "cut", _recipe()))
    resumed = hybrid_train.train(_task(mura_like, tmp_path / "cut", _recipe()))
    assert len(calls) == 4  # epoch 1, the one that was cut, and epochs 2 and 3
    assert [(one.loss, one.auc) for one in resumed.history] == [(one.loss, one.auc) for one in whole.history]
    first, second = (hybrid.load(tmp_path / name)[0].state_dict() for name in ("whole", "cut"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_ctrl_c_is_answered_with_a_way_on(
    mura_like: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def cut(*_: Any) -> tuple[float, float]:
        raise KeyboardInterrupt

    monkeypatch.setattr(hybrid_train, "validate", cut)
    assert command.run(arguments(mura_like, tmp_path / "run", "--network", "compact")) == command.INTERRUPTED
    assert "the same command goes on" in capsys.readouterr().out


def test_training_stops_when_the_auc_no_longer_rises(
    mura_like: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found_each = iter([(0.6, 0.5), (0.7, 0.5), (0.7, 0.6), (0.65, 0.1), (0.9, 0.1)])
    monkeypatch.setattr(hybrid_train, "validate", lambda *_: next(found_each))
    found = hybrid_train.train(_task(mura_like, tmp_path / "run", _recipe(epochs=9, patience=2)))
    assert [one.auc for one in found.history] == [0.6, 0.7, 0.7, 0.65]
    assert (found.best_epoch, found.best_auc) == (2, 0.7)


def test_equal_aucs_are_told_apart_by_the_loss(
    mura_like: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found_each = iter([(1.0, 0.9), (1.0, 0.4), (1.0, 0.5), (0.99, 0.1)])
    monkeypatch.setattr(hybrid_train, "validate", lambda *_: next(found_each))
    found = hybrid_train.train(_task(mura_like, tmp_path / "run", _recipe(epochs=4)))
    assert (found.best_epoch, found.best_auc) == (2, 1.0)


def test_rare_fractures_weigh_more(mura_like: Path, tmp_path: Path) -> None:
    task = _task(mura_like, tmp_path / "run", _recipe(epochs=1))
    rows = [
        row
        for index, row in enumerate(task.material.listing.rows)
        if not (row.label and row.split == "train" and index % 8 != 2)
    ]
    places = np.array([index for index, row in enumerate(task.material.listing.rows) if row in rows])
    listing = layouts.Listing(tuple(rows), (), len(rows))
    fewer = replace(task, material=replace(task.material, listing=listing, places=places))
    positives = sum(row.label for row in rows if row.split == "train")
    assert hybrid_train.train(fewer).pos_weight == pytest.approx(30 / positives)
    one = hybrid_train._loss(1, 3.0, "cpu")
    two = hybrid_train._loss(2, 3.0, "cpu")
    z, y = torch.tensor([[0.4], [-0.3]]), torch.tensor([1.0, 0.0])
    weighed = (3 * torch.nn.functional.softplus(-z[0]) + torch.nn.functional.softplus(z[1])).sum()
    assert float(one(z, y)) == pytest.approx(float(weighed) / 2)
    # Cross-entropy divides by the sum of the weights.
    assert float(two(torch.cat([torch.zeros_like(z), z], 1), y)) == pytest.approx(float(weighed) / 4)


def test_inputs_are_made_once_and_again_when_a_file_changes(mura_like: Path, tmp_path: Path) -> None:
    listing = layouts.read(mura_like)
    first = hybrid.gather(listing, SHAPE, tmp_path)
    made = (tmp_path / "inputs.npy").stat().st_mtime_ns
    again = hybrid.gather(listing, SHAPE, tmp_path)
    assert (tmp_path / "inputs.npy").stat().st_mtime_ns == made
    assert again.listing == first.listing
    assert again.places.tolist() == first.places.tolist()
    other = hybrid.gather(listing, replace(SHAPE, side=32), tmp_path)
    assert other.inputs.codes.shape == (140, 32, 32)


@pytest.mark.parametrize("size", [(90, 60), (64, 64), (700, 1100)])
def test_training_and_serving_have_one_input(size: tuple[int, int]) -> None:
    grey = np.random.default_rng(2).integers(0, 256, size).astype(np.uint8)
    for shape in (SHAPE, hybrid.Shape("resnet18", 2, hybrid.STRETCH, 224)):
        trained_on = hybrid.Inputs(hybrid.encode(shape, grey)[None]).batch(np.array([0]))
        served = prepare(shape.preprocessing_id, grey.astype(np.uint16) * 257).tensor
        assert np.array_equal(trained_on.numpy(), served)
        # As the published systems read it: Pillow's own luma, stretched, over 255. Rows come first, as in the Pillow of
        # their day; since 13 it takes the columns of a tall, narrow image first.
        rows_first = Image.fromarray(grey).resize((shape.side, size[0]), Image.Resampling.BILINEAR)
        published = rows_first.resize((shape.side, shape.side), Image.Resampling.BILINEAR)
        assert np.array_equal(served[0, 0], np.asarray(published, dtype=np.float32) / np.float32(255.0))
        if size[0] <= size[1]:
            assert published == Image.fromarray(grey).resize((shape.side, shape.side), Image.Resampling.BILINEAR)
    shape = hybrid.Shape("compact", 1, LCN_LETTERBOX_512, 512)
    local = hybrid.Inputs(hybrid.encode(shape, grey)[None]).batch(np.array([0]))
    wanted = prepare(shape.preprocessing_id, grey.astype(np.uint16) * 257).tensor
    assert local.numpy() == pytest.approx(wanted, abs=1e-4)  # kept in 16 bit, to 1/12,000


def test_augmentation_keeps_shape_and_is_drawn_from_its_generator() -> None:
    x = torch.rand(6, 1, 32, 32)
    first, again = (hybrid_train.augment(x, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first, again)
    assert first.shape == x.shape
    assert not torch.equal(first, x)


def test_a_map_that_does_not_sum_to_its_score_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = hybrid.build(SHAPE).eval()
    inputs = hybrid.Inputs(np.full((2, 64, 64), 120, dtype=np.uint8))
    hybrid.answer(model, inputs, np.arange(2))
    for wrong in (0.01, float("nan")):
        monkeypatch.setattr(hybrid.gradcam, "residue", lambda *_, found=wrong: found)
        with pytest.raises(LabError, match="away from its score"):
            hybrid.answer(model, inputs, np.arange(2))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--preprocessing", LCN_LETTERBOX_512), "makes 512-px inputs, not 64"),
        (("--side", "100"), "--side 100: give a multiple of 32 up to 1024"),
        (("--weights", "nowhere.pth"), "nowhere.pth: there is no such file"),
        (("--layout", "folder"), "class folders are train/ and val/"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(
    mura_like: Path, tmp_path: Path, more: tuple[str, ...], words: str
) -> None:
    with pytest.raises(LabError, match=words):
        command.run(arguments(mura_like, tmp_path / "run", *more))


def test_published_weights_are_where_training_starts(mura_like: Path, tmp_path: Path) -> None:
    source = ResNet18(1000)
    torch.save(source.state_dict(), tmp_path / "published.pth")
    chosen = arguments(mura_like, tmp_path / "run", "--weights", str(tmp_path / "published.pth"), "--rate", "0")
    model = command._network(chosen, command.shape_of(chosen))
    assert torch.equal(model.layer1[0].conv1.weight, source.layer1[0].conv1.weight)
    assert model.fc.weight.shape == (1, 512)
    assert command.recipe_of(chosen).rate == 3e-5
    (tmp_path / "published.pth").write_bytes(b"no tensors")
    with pytest.raises(LabError, match="not a file of plain tensors"):
        command._network(chosen, command.shape_of(chosen))
    chosen.network = "compact"
    with pytest.raises(LabError, match="the compact network is trained from scratch"):
        command._network(chosen, command.shape_of(chosen))


@pytest.mark.parametrize("name", ["train", "gate", "gradcam"])
def test_help_says_what_goes_in_and_out_and_loads_nothing_heavy(name: str) -> None:
    code = (
        "import argparse, sys\n"
        f"from dicom_node.lab.commands import {name} as command\n"
        "parser = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter)\n"
        "command.add_arguments(parser)\n"
        "parser.print_help()\n"
        "assert not {'torch', 'sklearn', 'matplotlib', 'numpy', 'cv2'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for words in ("goes in:", "comes out:", "example:", f"dicom-node lab {name}"):
        assert words in done.stdout


def test_another_configuration_does_not_resume(trained: Path, mura_like: Path) -> None:
    with pytest.raises(LabError, match="holds a run with another recipe"):
        command.run(arguments(mura_like, trained, "--network", "compact", "--seed", "2"))
