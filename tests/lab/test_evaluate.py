"""`lab head`, `evaluate`, `calibrate` and `compare` on small made-up embeddings, checked against scikit-learn."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the lab needs scikit-learn: pip install 'dicom-node[lab]'")
pytest.importorskip("matplotlib", reason="the lab needs matplotlib: pip install 'dicom-node[lab]'")

import joblib
from safetensors.numpy import load_file
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

from dicom_node.cli.main import main
from dicom_node.lab import embeddings, evaluation_compare, evaluation_folds, evaluation_measures, probe
from dicom_node.lab.dataset import Image
from dicom_node.lab.embeddings import EMBEDDED, EXCLUDED, FAILED, Listing, Row
from dicom_node.lab.evaluation_measures import Bootstrap, Scores
from dicom_node.lab.runs import LabError, write_json

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = (4, 4, 4)
N = 240


def _image(index: int, *, fractured: bool) -> Image:
    regions = (("hand", "leg"), ("leg",), ("hip",))[index % 3]
    return Image(
        f"I{index:03d}", fractured, f"g{index // 4}", regions, hardware=index % 24 == 0, views=(True, False, False),
        multiscan=False, width=100, height=120, file_bytes=900, flags=(), eval_ok=True, boxes=(),
    )  # fmt: skip


def make_folder(folder: Path, seed: int = 1, *, split: bool = True, signal: float = 1.0) -> Path:
    """Write N embeddings in groups of four, a duplicate that is not scored, an exclusion and a failure."""
    random = np.random.default_rng(seed)
    labels = np.random.default_rng(0).random(N) < 0.3
    features = random.normal(1.0, 1.0, (N, 64)).astype(np.float32)
    features[:, :6] += signal * labels[:, None]
    images = [_image(index, fractured=bool(label)) for index, label in enumerate(labels)]
    images += [_image(N, fractured=False), _image(N + 1, fractured=True)]
    rows = [Row(EMBEDDED, "near_dup" if index == 7 else "", scored=index != 7, row=index) for index in range(N)]
    rows += [Row(EXCLUDED, "guard", scored=False, row=-1), Row(FAILED, "unreadable", scored=False, row=-1)]
    splits = [("dev_train" if index < N * 3 // 4 else "dev_val") if split else "" for index in range(N + 2)]
    folder.mkdir(parents=True)
    write_json(folder / "config.json", {"shape": list(SHAPE), "embedder": "made-up"})
    np.save(folder / "features.npy", features)
    np.save(folder / "facts.npy", random.normal(0, 1, (N, 5)))
    embeddings.write_index(folder, Listing(folder, tuple(images), tuple(splits)), rows)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("made-up") / "embeddings")


def _lab(*words: Any) -> int:
    return main(["lab", *map(str, words)])


def _metrics(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "metrics.json").read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def honest(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "honest"
    assert _lab("evaluate", folder, "--out", out, "--bootstraps", 40) == 0
    return out


def _scores(run: Path) -> tuple[np.ndarray, np.ndarray, list[dict[str, str]]]:
    with (run / "scores.csv").open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    return np.array([row["label"] == "1" for row in rows]), np.array([float(row["z"]) for row in rows]), rows


def test_the_honest_evaluation_keeps_groups_whole_and_counts_everything(honest: Path) -> None:
    labels, z, rows = _scores(honest)
    metrics = _metrics(honest)
    folds: dict[str, set[str]] = {}
    for row in rows:
        folds.setdefault(row["group"], set()).add(row["fold"])
    assert all(len(found) == 1 for found in folds.values())
    assert metrics["counts"] == {
        "listed": N + 2, "scored": N - 1, "excluded": {"guard": 1, "near_dup": 1}, "failed": 1,
    }  # fmt: skip
    assert metrics["auc"]["value"] == pytest.approx(roc_auc_score(labels, z))
    assert metrics["auc"]["low"] < metrics["auc"]["value"] < metrics["auc"]["high"]
    assert metrics["average_precision"]["value"] == pytest.approx(average_precision_score(labels, z))
    assert metrics["auc"]["value"] > 0.85
    assert 0.3 < metrics["shortcuts_alone"]["auc"]["value"] < 0.7


def test_regions_are_multi_label_and_hardware_is_told_apart(honest: Path) -> None:
    metrics = _metrics(honest)
    counts = {name: one["images"] for name, one in metrics["regions"].items()}
    assert counts == {"hand": 80, "leg": 159, "hip": 80}
    assert (metrics["hardware"]["with"]["images"], metrics["hardware"]["without"]["images"]) == (10, N - 11)


def test_abstaining_is_measured_on_the_calibrated_probabilities(honest: Path, made_head: Path) -> None:
    labels, z, rows = _scores(honest)
    folds = np.array([int(row["fold"]) for row in rows])
    scores = Scores(labels, z, np.array([row["group"] for row in rows]), folds)
    p = evaluation_measures.cross_fitted("platt", scores)
    found = _metrics(honest)["selective"]
    wrong = ((p >= 0.5) != labels).astype(float)
    sure = np.maximum(p, 1 - p)
    by_definition = np.mean([wrong[sure >= limit].mean() for limit in sure])
    assert found["aurc"]["value"] == pytest.approx(by_definition)
    assert found["aurc"]["low"] < found["aurc"]["value"] < found["aurc"]["high"]
    assert 0 < found["augrc"]["value"] < wrong.mean() / 2  # better than deciding in any order
    assert "AUGRC" in (made_head / "report.html").read_text(encoding="utf-8")
    assert (made_head / "pictures" / "risk_coverage.png").exists()


def test_a_figure_that_is_not_defined_is_null_with_its_reason() -> None:
    scores = Scores(np.zeros(5, dtype=bool), np.arange(5.0), np.array(list("abcde")), np.zeros(5, dtype=np.int64))
    found = evaluation_measures.discrimination(scores, Bootstrap(10))
    assert found["auc"] == {"value": None, "reason": "all 5 images are not fractured"}
    assert evaluation_measures.calibration_figures(scores, Bootstrap(10))["value"] is None
    nothing = evaluation_measures.selective_figures(scores, np.full(5, np.nan), Bootstrap(10))
    assert [one["value"] for one in nothing.values()] == [None, None]
    empty = scores.among(np.zeros(5, dtype=bool))
    assert evaluation_measures.discrimination(empty, Bootstrap(10))["auc"]["reason"] == "no image"


def test_the_data_efficiency_curve_rises_and_says_what_is_missing(honest: Path) -> None:
    curve = _metrics(honest)["data_efficiency"]
    assert [one["images"] for one in curve] == [10, 25, 50, 100, 250, 500, "all"]
    assert curve[4]["auc"] is None
    assert "can be learnt from" in curve[4]["reason"]
    assert curve[0]["auc"] < curve[3]["auc"] <= curve[-1]["auc"] + 0.05
    assert curve[0]["trials"] == 15


def test_report_and_pictures_are_there(honest: Path) -> None:
    names = {"roc", "precision_recall", "reliability", "risk_coverage", "confusion", "data_efficiency"}
    assert {path.stem for path in (honest / "pictures").iterdir()} == names
    text = (honest / "report.html").read_text(encoding="utf-8")
    assert text.count("data:image/png;base64,") == len(names)
    assert "shortcuts alone, no anatomy" in text
    assert "http" not in text


def test_the_published_protocol_is_by_image_and_takes_one_region_each(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "published"
    words = ["--protocol", "published", "--bootstraps", 20, "--no-data-efficiency"]
    assert _lab("evaluate", folder, "--out", out, *words) == 0
    metrics = _metrics(out)
    assert {name: one["images"] for name, one in metrics["regions"].items()} == {"hand": 80, "leg": 79, "hip": 80}
    _, _, rows = _scores(out)
    assert len({row["fold"] for row in rows if row["group"] == "g5"}) > 1
    assert metrics["calibration"]["temperature"]["temperature"] > 0


def test_an_interrupted_evaluation_goes_on_from_its_scores(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, words = tmp_path / "run", ("--bootstraps", 20)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(evaluation_folds, "data_efficiency", stop)
        assert _lab("evaluate", folder, "--out", out, *words) == 130
    monkeypatch.setattr(evaluation_folds, "out_of_fold", stop)
    monkeypatch.setattr(evaluation_folds, "SIZES", (10,))
    assert _lab("evaluate", folder, "--out", out, *words) == 0
    assert _metrics(out)["auc"]["value"] > 0.85


@pytest.fixture(scope="module")
def made_head(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "head"
    splits = ["--train-split", "dev_train", "--test-split", "dev_val"]
    assert _lab("head", folder, "--out", out, "--bootstraps", 20, *splits) == 0
    return out


def test_head_writes_one_probe_in_two_forms(folder: Path, made_head: Path) -> None:
    held = joblib.load(made_head / "probe.joblib")
    tensors = load_file(str(made_head / "head.safetensors"))
    features = np.load(folder / "features.npy")
    wanted = held["model"].decision_function(held["scaler"].transform(features.astype(np.float64)))
    z = features @ tensors["weight"].reshape(-1) + tensors["bias"][0]
    assert tensors["weight"].shape == SHAPE
    assert np.abs(z - wanted).max() <= 1e-5 * np.abs(wanted).max()
    assert held["temperature"] == pytest.approx(_metrics(made_head)["temperature"])
    found = embeddings.load(folder)
    test = (found.splits == "dev_val") & found.scored
    assert held["holdout_metrics"]["auc"] == pytest.approx(roc_auc_score(found.labels[test], wanted[test]))
    assert _metrics(made_head)["counts"]["excluded"]["other_split"] == 60
    assert (made_head / "probe.joblib.sha256").exists()


def test_import_takes_what_head_wrote(made_head: Path, tmp_path: Path) -> None:
    assert _lab("import-probe", made_head / "probe.joblib", "--embedder", "4x4x4", "--out", tmp_path / "in") == 0
    ours, back = (load_file(str(one / "head.safetensors")) for one in (made_head, tmp_path / "in"))
    assert np.array_equal(ours["weight"], back["weight"])
    assert np.array_equal(ours["bias"], back["bias"])


def test_a_leaking_split_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    leaking = make_folder(tmp_path / "embeddings")
    text = (leaking / "index.csv").read_text(encoding="utf-8").replace("g59,dev_val", "g1,dev_val")
    (leaking / "index.csv").write_text(text, encoding="utf-8")
    words = ("--train-split", "dev_train", "--test-split", "dev_val")
    assert _lab("head", leaking, "--out", tmp_path / "run", *words) == 1
    assert "the split leaks: 1 group(s) are on both sides" in capsys.readouterr().err
    assert _lab("head", leaking, "--out", tmp_path / "run", "--train-split", "a", "--test-split", "dev_val") == 1
    assert "these splits: dev_train, dev_val" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_folds_that_cannot_hold_both_classes_are_refused(folder: Path) -> None:
    found = embeddings.load(folder)
    with pytest.raises(LabError, match="folds cannot be made"):
        evaluation_folds.make_folds(found, "honest", 61, 1)
    with pytest.raises(LabError, match="one class only"):
        evaluation_folds.make_folds(found, "honest", 5, 1, among=~found.labels)
    one_sided = evaluation_folds.Folding("published", np.where(found.labels, 0, 1), 1)
    with pytest.raises(LabError, match=r"fold 1 would learn from \d+ images of one class only"):
        evaluation_folds.out_of_fold(found, one_sided, probe.Settings())


def test_calibration_is_scikit_learns() -> None:
    random = np.random.default_rng(5)
    z = random.normal(0, 3, 600)
    labels = random.random(600) < 1 / (1 + np.exp(-(0.6 * z - 1)))
    fitted = evaluation_measures.fit_calibration("platt", z, labels)
    wanted = LogisticRegression(C=1e9, tol=1e-9).fit(z[:, None], labels)
    assert (fitted.a, fitted.d) == pytest.approx((wanted.coef_[0, 0], wanted.intercept_[0]), abs=2e-3)
    temperature = evaluation_measures.fit_temperature(z, labels)
    plain = LogisticRegression(C=1e9, tol=1e-9, fit_intercept=False).fit(z[:, None], labels)
    assert 1 / temperature == pytest.approx(plain.coef_[0, 0], rel=1e-3)
    scores = Scores(labels, z, np.arange(600).astype(str), np.arange(600) % 4)
    p = evaluation_measures.cross_fitted("platt", scores)
    found = evaluation_measures.calibration_figures(scores, Bootstrap(20))["platt"]
    assert found["brier"]["value"] == pytest.approx(brier_score_loss(labels, p))
    assert found["nll"]["value"] == pytest.approx(log_loss(labels, p))
    assert found["ece"]["low"] <= found["ece"]["high"]


def test_calibrate_reads_a_run_and_reports(honest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _lab("calibrate", honest, "--out", tmp_path / "run", "--bootstraps", 30) == 0
    found = _metrics(tmp_path / "run")["calibration"]
    assert found["platt"]["nll"]["value"] < found["none"]["nll"]["value"]
    assert "platt" in capsys.readouterr().out
    assert (tmp_path / "run" / "pictures" / "reliability.png").exists()
    assert _lab("calibrate", tmp_path, "--out", tmp_path / "other") == 1
    assert "give a finished run" in capsys.readouterr().err


def test_compare_pairs_the_same_images_and_no_others(
    honest: Path, made_head: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weak = make_folder(tmp_path / "weak", seed=2, signal=0.1)
    words = ("--bootstraps", 20, "--no-data-efficiency")
    assert _lab("evaluate", weak, "--out", tmp_path / "weak-run", *words) == 0
    capsys.readouterr()
    runs = (honest, tmp_path / "weak-run", made_head)
    assert _lab("compare", *runs, "--out", tmp_path / "both", "--bootstraps", 100) == 0
    first, second, third = _metrics(tmp_path / "both")["differences"]
    wanted = _metrics(runs[1])["auc"]["value"] - _metrics(honest)["auc"]["value"]
    assert first["value"] == pytest.approx(wanted)
    assert first["high"] < 0
    assert second["value"] is None
    assert "other images" in third["reason"]
    assert "weak-run" in capsys.readouterr().out
    assert _lab("compare", honest, "--out", tmp_path / "one") == 1
    assert _lab("compare", honest, honest) == 1


def test_a_run_compared_with_itself_differs_by_nothing(honest: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    again.mkdir()
    for name in ("metrics.json", "scores.csv"):
        lines = (honest / name).read_text(encoding="utf-8").splitlines()
        # The order of the images does not matter.
        kept = [lines[0], *reversed(lines[1:])] if name == "scores.csv" else lines
        (again / name).write_text("\n".join(kept) + "\n", encoding="utf-8")
    (found,) = evaluation_compare.pairs([honest, again], ["one", "two"], Bootstrap(30))
    assert (found["value"], found["low"], found["high"]) == (0.0, 0.0, 0.0)
