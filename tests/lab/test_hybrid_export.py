"""`lab export` of a trained classifier: trained, gated and exported for real, and the node answers as the network."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the lab needs torch: pip install 'dicom-node[lab]'")
pytest.importorskip("sklearn", reason="the lab needs scikit-learn: pip install 'dicom-node[lab]'")
pytest.importorskip("onnxscript", reason="the lab needs onnxscript: pip install 'dicom-node[lab]'")

from dicom_node.cli.main import main  # noqa: E402 - after the skip
from dicom_node.core.decision import decide_view  # noqa: E402 - after the skip
from dicom_node.core.findings import Outcome  # noqa: E402 - after the skip
from dicom_node.core.intended_use import ViewAttributes  # noqa: E402 - after the skip
from dicom_node.core.localisation import measure  # noqa: E402 - after the skip
from dicom_node.core.radiograph import Radiograph  # noqa: E402 - after the skip
from dicom_node.inference.bundle import load_bundle  # noqa: E402 - after the skip
from dicom_node.inference.onnx_embedder import OnnxEmbedder  # noqa: E402 - after the skip
from dicom_node.inference.pipeline import Pipeline  # noqa: E402 - after the skip
from dicom_node.lab import (  # noqa: E402 - after the skip
    calibrate,
    cards,
    gate_grid,
    gate_serving,
    hybrid,
    hybrid_export,
    hybrid_run,
    probe_export,
    selective,
)
from dicom_node.lab.gate_policies import Cases  # noqa: E402 - after the skip
from dicom_node.lab.runs import LabError  # noqa: E402 - after the skip

VIEW = ViewAttributes(modality="DX", body_part="HAND", patient_age="045Y")
TERMS = "Made-up limbs, drawn for a test."


def _lab(*words: Any) -> int:
    return main(["lab", *map(str, words)])


def _limb(random: np.random.Generator, *, broken: bool) -> np.ndarray:
    image = np.full((144, 120), 10.0)
    image[:, 30:90], image[:, 45:75] = 90, 150
    if broken:
        y = int(random.integers(50, 80))
        image[y : y + 20, 38:82] = 250
    return np.clip(image + random.normal(0, 6, image.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def limbs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a list of pictures large enough to be served, half of them broken, two to a group; no regions."""
    folder = tmp_path_factory.mktemp("limbs")
    random = np.random.default_rng(4)
    lines = ["image,label,group,region,split"]
    for index in range(144):
        broken = index // 2 % 2 == 1
        cv2.imwrite(str(folder / f"{index}.png"), _limb(random, broken=broken))
        split = "train" if index < 80 else "val"
        lines.append(f"{index}.png,{int(broken)},p{index // 2},,{split}")
    (folder / "list.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    named = [line.replace(",,", ",hand+wrist," if number % 2 else ",wrist,") for number, line in enumerate(lines)]
    (folder / "named.csv").write_text("\n".join(named) + "\n", encoding="utf-8")
    return folder


class Made:
    """A tiny training and its gate: what goes into an export."""

    def __init__(self, out: Path, data: Path, *more: Any) -> None:
        self.run = out
        words = ("--batch", 16, "--threads", 1, "--device", "cpu")
        assert _lab("train", "--data", data, "--out", out, *words, *more) == 0
        loose = ("--miss-rate", 0.4, "--alarm-rate", 0.4, "--inconclusive-max", 1.0)
        assert _lab("gate", "--run", out, *loose) == 0
        self.notice = out.parent / "terms.txt"
        self.notice.write_text(TERMS, encoding="utf-8")

    def export(self, out: Path, *more: Any) -> int:
        return _lab("export", self.run, "--notice", self.notice, "--out", out, *more)


@pytest.fixture(scope="module")
def triage(limbs: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    words = ("--network", "compact", "--side", 128, "--epochs", 8, "--rate", "3e-3")
    return Made(tmp_path_factory.mktemp("runs") / "triage", limbs / "named.csv", *words)


@pytest.fixture(scope="module")
def folder_cnn(limbs: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    words = ("--system", "folder-cnn", "--network", "resnet18", "--side", 96, "--epochs", 3, "--rate", "1e-3")
    return Made(tmp_path_factory.mktemp("runs") / "bones", limbs / "list.csv", *words)


def _is_the_network(made: Made, folder: Path) -> list[Outcome]:
    """Hold the served bundle against the network on every validation image; return the outcomes."""
    bundle = load_bundle(folder)
    images, cases = hybrid_run.load_cases(made.run)
    model, shape = hybrid.load(made.run)
    pipeline = Pipeline(bundle, OnnxEmbedder(bundle))
    outcomes = []
    calibration = bundle.manifest.calibration
    for index, image in enumerate(images):
        grey = hybrid_export.read_grey(Path(image))
        found = pipeline.analyse("1.2.3", VIEW, Radiograph(grey))
        with torch.inference_mode():
            batch = hybrid.Inputs(hybrid.encode(shape, np.asarray(grey // 257, dtype=np.uint8))[None]).batch(
                np.array([0])
            )
            logits = model(batch)[0]
        # The network's own probability: of the one logit, or the second of two classes.
        own = float(torch.softmax(logits, 0)[1] if len(logits) > 1 else torch.sigmoid(logits[0]))
        assert hybrid.sigmoid(np.array([found.finding.logit]))[0] == pytest.approx(own, abs=1e-4)
        assert found.finding.logit == pytest.approx(cases.z[index], abs=1e-3)
        assert float(found.evidence.values.sum()) + bundle.head.bias == pytest.approx(found.finding.logit, abs=1e-3)
        wanted = 1.0 / (1.0 + math.exp(-(calibration.a * found.finding.logit + calibration.d)))
        assert found.finding.probability == pytest.approx(wanted, abs=1e-12)
        assert np.array_equal(found.evidence.body, cases.body[index])
        outcomes.append(found.finding.outcome)
    return outcomes


def test_a_hybrid_run_serves_by_the_certified_policy(triage: Made, tmp_path: Path) -> None:
    assert triage.export(tmp_path / "triage", "--policy", "certified") == 0
    outcomes = _is_the_network(triage, tmp_path / "triage")
    assert {Outcome.POSITIVE, Outcome.NEGATIVE} <= set(outcomes)
    bundle = load_bundle(tmp_path / "triage")
    found = json.loads((triage.run / "gate" / "metrics.json").read_text())["certified"]
    assert (bundle.gate.p_low, bundle.gate.p_high) == (found["p_low"], found["p_high"])
    assert bundle.manifest.gate.bound.positives == found["misses"]["positives"]
    assert bundle.manifest.preprocessing.id == "stretch-luma-128-v1"
    assert bundle.intended_use.body_parts == ("HAND", "WRIST")
    assert not bundle.intended_use.age_required
    assert bundle.manifest.metrics["acceptance_images"] == 64
    # Nothing but what the map needs is in the file: the linear layer is the head's.
    assert b"fc.weight" not in (tmp_path / "triage" / "embedder.onnx").read_bytes()


def test_a_folder_cnn_of_two_logits_serves_as_its_margin(folder_cnn: Made, tmp_path: Path) -> None:
    words = (
        "--policy",
        "localisation",
        "--body-parts",
        "hand,leg",
        "--min-age",
        16,
        "--age-required",
        "--differing",
        1,
    )
    assert folder_cnn.export(tmp_path / "bones", *words) == 0
    outcomes = _is_the_network(folder_cnn, tmp_path / "bones")
    bundle = load_bundle(tmp_path / "bones")
    assert bundle.head.weight.shape == (3, 3, 512)
    assert bundle.intended_use.body_parts == ("HAND", "LEG")
    assert (bundle.intended_use.min_age_years, bundle.intended_use.age_required) == (16, True)
    assert bundle.manifest.gate.bound is None
    # The count of what is decided otherwise than published is that of the outcomes that the node really gave.
    _, cases = hybrid_run.load_cases(folder_cnn.run)
    rule = gate_grid.Rule(**json.loads((folder_cnn.run / "gate" / "metrics.json").read_text())["chosen_cell"]["rule"])
    published = gate_grid.decide(hybrid.sigmoid(cases.z), gate_grid.focus(cases.maps, (rule.alpha,)), rule)
    order = [Outcome.NEGATIVE, Outcome.POSITIVE, Outcome.INCONCLUSIVE]
    differing = sum(order[code] is not outcome for code, outcome in zip(published.tolist(), outcomes, strict=True))
    assert bundle.manifest.metrics["decided_otherwise_than_published"] == differing


@pytest.mark.parametrize(("network", "outputs"), [("resnet18", 1), ("compact", 2)])
def test_local_contrast_serves_as_well(limbs: Path, tmp_path: Path, network: str, outputs: int) -> None:
    torch.manual_seed(5)
    shape = hybrid.Shape(network, outputs, "lcn-letterbox-512-v1", 512)
    model = hybrid.build(shape).eval()
    images = tuple(limbs / f"{index}.png" for index in range(6))
    greys = [np.asarray(hybrid_export.read_grey(path) // 257, dtype=np.uint8) for path in images]
    codes = hybrid.Inputs(np.stack([hybrid.encode(shape, grey) for grey in greys]))
    answers = hybrid.answer(model, codes, np.arange(6))
    labels, names = np.arange(6) % 2 == 1, np.array([str(index) for index in range(6)])
    body = np.ones(answers.maps.shape, dtype=np.bool_)
    cases = Cases(labels, names, names, names, answers.z, answers.maps, body)
    recipe = {
        "optimizer": "adamw",
        "rate": 1e-3,
        "decay": 0.0,
        "batch": 2,
        "weighting": True,
        "augment": True,
        "seed": 5,
    }
    config = {"system": "hybrid", "data": "limbs", "recipe": recipe, "weights_sha256": "ab" * 32}
    measured = {"roc_auc": 0.5, "roc_auc_95_by_group": {"low": 0.1, "high": None}, "average_precision": None}
    measured |= {"brier": 0.2, "calibration_error": 0.1, "aurc": 0.1, "augrc": 0.1}
    measured["at_the_likelier_class"] = dict.fromkeys(("precision", "sensitivity", "specificity", "f1", "accuracy"))
    images_count = {"listed": 6, "used": 6, "excluded": {}}
    found = {"images": images_count, "validation": measured, "epochs": 1, "best_epoch": 1}
    run = hybrid_export.TrainedRun(config, found, model, shape, images, cases, "0" * 64)
    platt, nothing = calibrate.Platt(1.0, 0.0), selective.counted(np.zeros(0, dtype=np.int64), labels[:0])
    gate = gate_serving.converted(gate_grid.Rule(), platt, answers.maps[0].size)
    served = gate_serving.Served(gate, platt, None, [], "Not trained.", nothing, 0, 6)
    scope = hybrid_export.Scope(("HAND",), 18.0, hybrid_export.notice(run, ""))
    naming = probe_export.Naming("lcn", "0.1.0", "dicom-node lab export lcn")
    accepted = hybrid_export.write(run, served, scope, hybrid_export.own_trials(run), naming, tmp_path / "lcn")
    assert accepted.images == 6
    assert accepted.largest_logit_difference <= 1e-3
    bundle = load_bundle(tmp_path / "lcn")
    assert bundle.manifest.preprocessing.id == "lcn-letterbox-512-v1"
    assert "auc_high" not in bundle.manifest.metrics
    assert "were not stated" in (tmp_path / "lcn" / "NOTICE").read_text(encoding="utf-8")


def test_card_and_notice_are_written_from_the_files_and_name_no_place(triage: Made, tmp_path: Path) -> None:
    assert triage.export(tmp_path / "triage", "--policy", "certified") == 0
    card = (tmp_path / "triage" / "MODEL_CARD.md").read_text(encoding="utf-8")
    measured = json.loads((triage.run / "metrics.json").read_text())["validation"]
    for words in (
        "not a medical device",
        "144 listed = 144 used + 0 excluded",
        f"ROC-AUC {measured['roc_auc']:.3f}",
        "64 images through the node's own pipeline",
        "Policy: certified",
        "--policy certified",
    ):
        assert words in card
    assert "Not tried yet" not in card
    assert not cards.renew(tmp_path / "triage")
    assert TERMS in (tmp_path / "triage" / "NOTICE").read_text(encoding="utf-8")
    for path in (tmp_path / "triage").iterdir():
        assert str(triage.run.parent).encode() not in path.read_bytes()


def test_a_network_that_is_not_the_runs_is_not_written(
    triage: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Made.__new__(Made)
    other.run, other.notice = tmp_path / "run", triage.notice
    shutil.copytree(triage.run, other.run)
    held = torch.load(other.run / "best.pt", weights_only=True)
    held["state"]["fc.weight"] = held["state"]["fc.weight"] * 1.5
    torch.save(held, other.run / "best.pt")
    assert other.export(tmp_path / "triage", "--policy", "certified") == 1
    assert "the files are not of one training" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"run"}


def test_a_head_that_is_not_the_networks_is_not_written(
    triage: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = hybrid.margin_head
    monkeypatch.setattr(hybrid, "margin_head", lambda *args: replace(real(*args), bias=real(*args).bias + 0.01))
    assert triage.export(tmp_path / "triage", "--policy", "certified") == 1
    assert "does not answer as the network does" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_what_cannot_be_exported_is_said_in_a_line(
    triage: Made, folder_cnn: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new"
    cases: list[tuple[Made, tuple[Any, ...], str]] = [
        (folder_cnn, ("--policy", "localisation", "--differing", 1), "--body-parts: give DICOM body parts"),
        (triage, ("--body-parts", "SKULL"), "'SKULL' is not one of them"),
        (triage, ("--bundle", tmp_path), "--bundle belongs to a head run"),
        (triage, ("--gate", triage.run), "is not the folder of a finished `dicom-node lab gate` run"),
        (triage, ("--gate", folder_cnn.run / "gate"), "was made from other scores than the run's"),
    ]
    for made, words, wanted in cases:
        assert made.export(out, *words) == 1
        (line,) = [one for one in capsys.readouterr().err.splitlines() if one]
        assert wanted in line
    assert not out.exists()


def _cases(n: int = 120, seed: int = 2) -> Cases:
    random = np.random.default_rng(seed)
    labels = np.repeat(random.random(n // 2) < 0.4, 2)
    groups = np.repeat([f"p{index}" for index in range(n // 2)], 2)
    maps = np.zeros((n, 7, 7), dtype=np.float32)
    # Evidence in the middle only, of many shapes, and the whole grid on the body.
    maps[:, 1:6, 1:6] = random.gamma(0.4, 1.0, (n, 5, 5))
    z = random.normal(0, 1.5, n) + labels
    return Cases(labels, groups, groups, np.full(n, "hand"), z, maps, np.ones((n, 7, 7), bool))


def _gate_run(rule: gate_grid.Rule, **certified: Any) -> gate_serving.GateRun:
    bound = {"threshold": 0.1, "target": 0.05, "reached": 0.04, "confidence": 0.95, "positives": 99, "missed": 1}
    table = {
        "platt": {"a": 0.7, "d": -0.4},
        "p_low": 0.1,
        "p_high": 0.6,
        "misses": bound,
        "alarms": bound,
        "by_region": {},
    }
    table |= {"out_of_body_max": 0.2, **certified}
    chosen = {"rule": {name: getattr(rule, name) for name in rule.__slots__}}
    return gate_serving.GateRun({"seed": 1}, {"default_policy": "certified", "certified": table, "chosen_cell": chosen})


@pytest.mark.parametrize("rule", [gate_grid.Rule(), gate_grid.Rule(0.26, 2.6, 0.2, 0.3), gate_grid.Rule(0.18, 3.8)])
def test_where_every_cell_is_on_the_body_the_published_rule_converts_exactly(rule: gate_grid.Rule) -> None:
    cases = _cases()
    platt = calibrate.Platt(0.7, -0.4)
    gate = gate_serving.converted(rule, platt, 49)
    published = gate_grid.decide(hybrid.sigmoid(cases.z), gate_grid.focus(cases.maps, (rule.alpha,)), rule)
    order = [Outcome.NEGATIVE, Outcome.POSITIVE, Outcome.INCONCLUSIVE]
    for index, code in enumerate(published.tolist()):
        measured = measure(cases.maps[index], cases.body[index], gate.alpha)
        p = float(platt.probability(cases.z[index : index + 1])[0])
        assert decide_view(p, measured, gate)[0] is order[code]
    served = gate_serving.serve(_gate_run(rule), cases, "localisation", 0.0)
    assert served.otherwise == 0
    assert len(set(published.tolist())) > 1


def test_a_rule_that_the_serving_gate_cannot_follow_is_refused_with_its_reasons() -> None:
    cases = _cases()
    rule = gate_grid.Rule(0.18, 3.8)
    cases.maps[:6] = 0.0  # the published rule takes a map without evidence for perfectly focused
    cases.maps[6:10, 0, 3] = 50.0
    cases.z[:10] = 2.0
    with pytest.raises(LabError, match=r"10 of 120 .* \(4 peak on the map's border, 6 without evidence .*0\.084"):
        gate_serving.serve(_gate_run(rule), cases, "localisation", 0.0)
    served = gate_serving.serve(_gate_run(rule), cases, "localisation", 0.084)
    assert served.otherwise == 10
    assert "10 of 120" in served.words


def test_thresholds_that_prove_nothing_are_told_or_refused() -> None:
    cases, rule = _cases(), gate_grid.Rule()
    served = gate_serving.serve(_gate_run(rule), cases, "", 0.0)
    assert served.gate.policy.value == "certified"
    assert served.bound["fnr"] == 0.05
    loose = {"threshold": 0.0, "target": 0.05, "reached": 0.2, "confidence": 0.95, "positives": 14, "missed": 0}
    nothing = gate_serving.serve(_gate_run(rule, p_low=0.0, misses=loose), cases, "certified", 0.0)
    assert nothing.gate.p_low == 0.0
    assert "nothing is called negative" in nothing.bound["statement"]
    assert nothing.figures.negative == 0
    with pytest.raises(LabError, match="nothing could be called positive"):
        gate_serving.serve(_gate_run(rule, p_high=1.0001), cases, "certified", 0.0)
    with pytest.raises(LabError, match="no better than chance"):
        gate_serving.serve(_gate_run(rule, platt={"a": -0.1, "d": 0.0}), cases, "certified", 0.0)


def test_certified_figures_are_those_of_the_gates_own_report(triage: Made) -> None:
    digest = hashlib.sha256((triage.run / "scores.csv").read_bytes()).hexdigest()
    gate = gate_serving.read(triage.run / "gate", digest)
    _, cases = hybrid_run.load_cases(triage.run)
    served = gate_serving.serve(gate, cases, "certified", 0.0)
    (reported,) = [one["figures"] for one in gate.metrics["policies"] if one["name"] == "certified"]
    assert {name: getattr(served.figures, name) for name in reported} == reported
