"""`engine import-cxr` on a miniature ELIXR-C: what it writes, what it refuses, and that it serves up to an SR."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import cv2
import numpy as np
import pydicom
import pytest

from dicom_node.core.decision import aggregate
from dicom_node.core.errors import BundleError
from dicom_node.core.findings import Outcome
from dicom_node.core.intended_use import ViewAttributes
from dicom_node.inference import cxr_preprocess, head, known_answer
from dicom_node.inference.bundle import Bundle, load_bundle
from dicom_node.inference.evidence import evidence_map
from dicom_node.inference.onnx_embedder import OnnxEmbedder
from dicom_node.inference.pipeline import Pipeline
from dicom_node.inference.preprocess import prepare
from dicom_node.lab import bundle_files, cards
from dicom_node.lab.cxr.images import extremes
from dicom_node.part10.decode import decode
from dicom_node.part10.writer import encode
from dicom_node.report.display import to_display
from dicom_node.report.package import ReportRequest, SourceView, compose
from tests.lab.cxr.conftest import import_cxr
from tests.support.fracatlas import Factory
from tests.support.published_probe import TEMPERATURE, Probe, write_probe
from tests.support.results import read_report

BOUNDS = {"fp32": (0.99999, 0.01), "fp16": (0.999, 0.05)}


@pytest.fixture
def bundle(bundle_folder: Path) -> Bundle:
    return load_bundle(bundle_folder)


def test_the_manifest_says_what_the_model_is_and_what_is_not_certified(bundle: Bundle, probe: Probe) -> None:
    manifest = bundle.manifest
    assert manifest.embedder.input_shape == [1, 1, 1280, 1280]
    assert manifest.embedder.output_shape == [1, 40, 40, 1376]
    assert (manifest.embedder.pool, manifest.head.grid, manifest.head.channels) == (5, [8, 8], 1376)
    assert manifest.preprocessing.id == manifest.training["probe_preprocessing"] == "edgefracture-v1"
    assert manifest.calibration.a == pytest.approx(1 / TEMPERATURE)
    assert manifest.calibration.d == 0.0
    assert manifest.demonstration
    assert (bundle.gate.p_low, bundle.gate.p_high) == (0.45, 0.55)
    assert manifest.gate.bound is not None
    assert "Not certified here" in manifest.gate.bound.statement
    assert (manifest.gate.bound.fnr, manifest.gate.bound.confidence) == (1.0, 0.0)
    assert manifest.training["probe_sha256"] == probe.sha256
    assert manifest.metrics["published_auc"] == 0.882
    assert "published_folds" not in manifest.metrics


def test_what_was_measured_is_kept_and_lies_within_the_bounds(bundle: Bundle) -> None:
    metrics, precision = bundle.manifest.metrics, bundle.manifest.training["precision"]
    cosine, logit = BOUNDS[precision]
    assert (metrics["parity_images"], metrics["parity_skipped"]) == (6, 1)
    for prefix in ("parity", "fp16")[: 2 if precision == "fp16" else 1]:
        assert cosine <= metrics[f"{prefix}_least_cosine"] <= 1.0 + 1e-9
        assert 0.0 < metrics[f"{prefix}_largest_logit_difference"] <= logit
        assert metrics[f"{prefix}_same_outcome"] == 1.0
    if precision == "fp16":
        assert 0.5 < metrics["fp16_largest_magnitude"] < 65504
        # Noise drives the miniature further than any radiograph does: the extremes were run, not only counted.
        assert metrics["fp16_largest_magnitude_on"] in extremes()
        # The roundings between the layers are there: plain ONNX Runtime leaves them out on a processor.
        assert metrics["fp16_least_cosine"] < metrics["parity_least_cosine"]
    card = (bundle.folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert f"{metrics['parity_largest_logit_difference']:.3g}" in card
    assert "not measured here | |\n| --- | --- |\n| auc | 0.882 |" in card
    assert "/" not in bundle.manifest.training["command"].replace("'", "")


def test_its_card_is_renewed_from_its_manifest_as_any_bundle_s(bundle: Bundle, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bundle.folder, tmp_path / "copy"))
    assert not cards.renew(folder)
    card = folder / "MODEL_CARD.md"
    written = card.read_text(encoding="utf-8")
    card.write_text("Not tried yet.\n", encoding="utf-8")
    bundle_files.write_sums(folder)
    assert cards.renew(folder)
    assert card.read_text(encoding="utf-8") == written
    known = load_bundle(folder).manifest.known_answer
    assert known is not None
    assert known.logit == pytest.approx(known_answer.answer(bundle, OnnxEmbedder(bundle)), abs=1e-4)


def _said(outcome: Outcome, peak: int, second: float) -> Any:
    """Return what a model says whose map has its peak in one cell and `second` in the three others."""
    from dicom_node.lab.cxr import parity  # noqa: PLC0415 - needs TensorFlow

    shown = np.full(4, second, dtype=np.float32)
    shown[peak] = 1.0
    return parity.Said(np.ones((2, 2, 3), dtype=np.float32), 1.0, 0.75, shown, outcome)


@pytest.mark.usefixtures("tf")
@pytest.mark.parametrize(
    ("outcomes", "peaks", "second", "agrees"),
    [
        ((Outcome.POSITIVE, Outcome.POSITIVE), (0, 1), 0.5, True),
        ((Outcome.POSITIVE, Outcome.INCONCLUSIVE), (0, 1), 0.995, True),
        ((Outcome.POSITIVE, Outcome.INCONCLUSIVE), (0, 1), 0.98, False),
        ((Outcome.POSITIVE, Outcome.INCONCLUSIVE), (0, 0), 0.995, False),
        ((Outcome.POSITIVE, Outcome.NEGATIVE), (0, 1), 0.995, False),
        ((Outcome.NEGATIVE, Outcome.INCONCLUSIVE), (0, 1), 0.995, False),
    ],
)
def test_an_outcome_that_a_tied_peak_turns_agrees_and_a_negative_never_does(
    outcomes: tuple[Outcome, Outcome], peaks: tuple[int, int], second: float, *, agrees: bool
) -> None:
    from dicom_node.lab.cxr import parity  # noqa: PLC0415 - as above

    wanted, found = (_said(outcome, peak, second) for outcome, peak in zip(outcomes, peaks, strict=True))
    assert parity.difference(wanted, found).outcome_agrees is agrees


@pytest.mark.usefixtures("tf")
@pytest.mark.parametrize("change", ["cosine", "logit", "probability", "peaks", "outcomes"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_each_bound_of_the_comparison_alone_refuses_and_so_does_what_is_no_number(precision: str, change: str) -> None:
    from dicom_node.lab.cxr import parity  # noqa: PLC0415 - as above
    from dicom_node.lab.runs import LabError  # noqa: PLC0415 - as above

    bounds = parity.BOUNDS[precision]
    values = {name: getattr(bounds, name) for name in ("cosine", "logit", "probability", "peaks", "outcomes")}
    at_the_bounds = parity.Parity(images=16, same_peaks=1.0, same_outcomes=1.0, **values)
    parity.check("it", at_the_bounds, bounds)
    step = 1e-6 if change in {"logit", "probability"} else -1e-6
    for value in (values[change] + step, float("nan")):
        with pytest.raises(LabError, match="nothing was written"):
            parity.check("it", replace(at_the_bounds, **{change: value}), bounds)


@pytest.mark.usefixtures("tf")
def test_a_rehearsal_beyond_the_bounds_refuses_though_plain_onnx_runtime_agrees() -> None:
    from dicom_node.lab.cxr import importer, parity  # noqa: PLC0415 - as above
    from dicom_node.lab.runs import LabError  # noqa: PLC0415 - as above

    same = parity.Parity(16, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0)
    request = cast("importer.Request", SimpleNamespace(precision="fp16"))
    inside = parity.Range(44.0, "a layer", "an image")
    importer._accept(request, importer.Tried(same, True, 0, same, inside, 10))  # noqa: FBT003 - a record
    with pytest.raises(LabError, match="the network in FP16 does not answer"):
        importer._accept(request, importer.Tried(same, True, 0, replace(same, cosine=0.9), inside, 10))  # noqa: FBT003


@pytest.mark.usefixtures("tf")
@pytest.mark.parametrize("wrong", [1.0, float("nan")])
def test_a_tensor_of_that_name_that_the_signature_does_not_answer_is_refused(wrong: float) -> None:
    from dicom_node.lab.cxr import importer  # noqa: PLC0415 - as above
    from dicom_node.lab.runs import LabError  # noqa: PLC0415 - as above

    def model(taken: float) -> Any:
        pooled = np.full((8, 8, 3), taken, dtype=np.float32)
        return SimpleNamespace(
            answer=lambda _: np.zeros((8, 8, 3), dtype=np.float32),
            features=lambda _: SimpleNamespace(pooled=pooled),
            cut=SimpleNamespace(pooled="average_pooling2d/AvgPool:0"),
        )

    grey = np.zeros((64, 64), dtype=np.uint16)
    importer._check_signature(model(0.0), "google-dicom-v2", grey)
    with pytest.raises(LabError, match="is not what the SavedModel's signature answers"):
        importer._check_signature(model(wrong), "google-dicom-v2", grey)


def test_terms_go_with_the_weights_and_git_does_not_take_them(bundle: Bundle) -> None:
    notice = (bundle.folder / "NOTICE").read_text(encoding="utf-8")
    assert "Health AI Developer Foundations Terms of Use" in notice
    assert "Do not commit this folder" in notice
    assert "EfficientNet/grayscale_to_rgb:0" in notice
    subprocess.run(["git", "init", "-q", str(bundle.folder.parent)], check=True)
    found = subprocess.run(
        ["git", "-C", str(bundle.folder.parent), "status", "--porcelain", "--untracked-files=all"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert bundle.folder.name not in found.stdout


def test_the_bundle_scores_as_savedmodel_and_scikit_learn_do(
    bundle: Bundle, saved_model: Path, probe: Probe, radiographs: Path, tf: Any
) -> None:
    grey = cv2.imread(str(radiographs / "1.png"), cv2.IMREAD_GRAYSCALE).astype(np.uint16) * np.uint16(257)
    _, png = cv2.imencode(".png", cxr_preprocess.client_plane("edgefracture-v1", grey))
    feature = {"image/encoded": png.tobytes(), "image/format": b"png"}
    example = tf.train.Example(
        features=tf.train.Features(
            feature={name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[v])) for name, v in feature.items()}
        )
    ).SerializeToString()
    loaded = tf.saved_model.load(str(saved_model))
    answer = loaded.signatures["serving_default"](input_example=tf.constant([example]))["feature_maps_0"].numpy()[0]
    features = OnnxEmbedder(bundle).embed(prepare("edgefracture-v1", grey).tensor)
    z = head.logit(features, bundle.head, 5)
    assert z == pytest.approx(probe.logit(answer), abs=BOUNDS[bundle.manifest.training["precision"]][1])
    # The 40 x 40 map is the 8 x 8 map in finer cells: block by block the same evidence, in all the same score.
    fine = evidence_map(features, bundle.head, 5)
    pooled = features.reshape(8, 5, 8, 5, 1376).mean(axis=(1, 3))
    coarse = evidence_map(pooled, bundle.head, 1)
    assert np.abs(fine.reshape(8, 5, 8, 5).sum(axis=(1, 3)) - coarse).max() < 1e-5
    assert float(fine.sum(dtype=np.float64)) + bundle.head.bias == pytest.approx(z, abs=1e-4)


def test_from_a_dicom_file_to_a_structured_report(bundle: Bundle, tmp_path: Path) -> None:
    study = Factory(tmp_path, seed=5).study(views=2)
    pipeline = Pipeline(bundle, OnnxEmbedder(bundle))
    views = []
    for file in study.files:
        radiograph, header = decode(file), pydicom.dcmread(file, stop_before_pixels=True)
        attributes = ViewAttributes(header.Modality, "HAND", header.PatientAge, ("ORIGINAL", "PRIMARY"))
        analysis = pipeline.analyse(str(header.SOPInstanceUID), attributes, radiograph)
        assert analysis.shown_map is not None
        assert analysis.shown_map.values.shape == (40, 40)
        column, row = analysis.finding.localisation.peak
        assert 0 <= column <= radiograph.columns
        assert 0 <= row <= radiograph.rows
        views.append(SourceView(header, analysis.finding, to_display(radiograph), analysis.shown_map))
    finding = aggregate(tuple(view.finding for view in views), 1.0, pipeline.model)
    assert finding.outcome in {Outcome.POSITIVE, Outcome.INCONCLUSIVE, Outcome.NEGATIVE}
    made_at = datetime(2026, 1, 2, tzinfo=timezone.utc)
    request = ReportRequest(study.study_instance_uid, 1, made_at, finding, tuple(views), bundle.gate)
    objects = compose(request)
    best = next(made for made in objects if made.slot == "sr")
    report = pydicom.dcmread(pydicom.filebase.DicomBytesIO(encode(best.dataset)))
    read = read_report(report)
    assert read.outcome == finding.outcome.value
    assert read.probability == pytest.approx(finding.probability, abs=1e-3)
    assert read.views >= set(study.sop_instance_uids)
    assert "edgefracture-v1" in read.text
    assert "Not certified here" in read.text


def _one_line(capsys: pytest.CaptureFixture[str]) -> str:
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith(("WARNING", "I0", "W0"))]
    return lines[-1] if lines else ""


def test_a_wrong_digest_is_refused_unread_and_leaves_nothing(
    saved_model: Path, probe: Probe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Probe(probe.path, "0" * 64, None, None)
    assert import_cxr(saved_model, other, tmp_path / "out") == 1
    assert "refused unread" in _one_line(capsys)
    assert list(tmp_path.iterdir()) == []


def test_a_probe_fitted_with_another_preprocessing_is_refused(
    saved_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stated = write_probe(tmp_path / "probe.joblib", {"preprocessing": "google-dicom-v2"})
    out = tmp_path / "out" / "cxr"
    assert import_cxr(saved_model, stated, out) == 1
    assert "give --preprocessing google-dicom-v2" in _one_line(capsys)
    assert not out.parent.exists()
    assert import_cxr(saved_model, stated, out, "--preprocessing", "google-dicom-v2", "--count", "2") == 0
    made = load_bundle(out)
    assert made.manifest.preprocessing.id == "google-dicom-v2"
    assert made.manifest.metrics["parity_source"].startswith("drawn images")
    assert (made.gate.p_low, made.gate.p_high) == (0.4, 0.7)
    assert (made.gate.entropy_max, made.gate.area_max) == (0.0, 0.0)
    assert [path.name for path in out.parent.iterdir()] == ["cxr"]


def test_another_graph_is_refused(elixr: Any, probe: Probe, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = elixr.write(tmp_path / "other", elixr.Shape(cut="EfficientNet/to_rgb"))
    assert import_cxr(other, probe, tmp_path / "out") == 1
    assert "0 tensors named EfficientNet/grayscale_to_rgb" in _one_line(capsys)
    (tmp_path / "empty").mkdir()
    assert import_cxr(tmp_path / "empty", probe, tmp_path / "out") == 1
    assert "holds no saved_model.pb" in _one_line(capsys)
    assert not (tmp_path / "out").exists()


def test_a_signature_that_answers_something_else_than_the_named_tensor_is_refused(
    elixr: Any, probe: Probe, radiographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = elixr.write(tmp_path / "other", elixr.Shape(answer=2.0))
    assert import_cxr(other, probe, tmp_path / "out", "--images", radiographs, "--count", 1) == 1
    assert "is not what the SavedModel's signature answers" in _one_line(capsys)
    assert not (tmp_path / "out").exists()


def test_a_savedmodel_that_fails_on_an_image_is_an_error_of_one_line(
    saved_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dicom_node.lab.cxr import saved_model as savedmodels  # noqa: PLC0415 - needs TensorFlow
    from dicom_node.lab.runs import LabError  # noqa: PLC0415 - as above

    model = savedmodels.SavedModel(saved_model)
    monkeypatch.setattr(savedmodels, "example", lambda _plane: b"no example")
    for ask in (model.answer, model.features):
        with pytest.raises(LabError, match="fails on an image"):
            ask(np.zeros((8, 8), dtype=np.uint8))


def test_an_operator_that_onnx_does_not_know_is_an_error_of_one_line(tf: Any, tmp_path: Path) -> None:  # noqa: ARG001
    from onnx import TensorProto, helper  # noqa: PLC0415 - as above

    from dicom_node.lab.cxr import onnx_export  # noqa: PLC0415 - as above
    from dicom_node.lab.runs import LabError  # noqa: PLC0415 - as above

    sides = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("FusedFoo", ["x"], ["y"])], "g", sides[:1], sides[1:])
    with pytest.raises(LabError, match=r"cannot be written as ONNX .*FusedFoo"):
        onnx_export.write(helper.make_model(graph), tmp_path / "embedder.onnx")


def test_a_disk_that_is_full_is_said_and_leaves_nothing(
    tf: Any,  # noqa: ARG001 - skips where TensorFlow is missing
    probe: Probe,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from safetensors import SafetensorError  # noqa: PLC0415 - as above

    from dicom_node.lab.cxr import importer  # noqa: PLC0415 - as above

    monkeypatch.setattr(importer, "SavedModel", lambda _folder: SimpleNamespace(grid=(8, 8, 1376)))
    for error in (OSError(28, "No space left on device"), SafetensorError("I/O error: No space left on device")):

        def full(*_: Any, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(importer, "_fill", full)
        assert import_cxr(tmp_path, probe, tmp_path / "out", "--count", 1) == 1
        assert "out: cannot be written" in (said := _one_line(capsys))
        assert "No space left" in said
        assert list(tmp_path.iterdir()) == []


def test_what_a_killed_import_left_is_removed_and_what_a_running_one_makes_is_not(tf: Any, tmp_path: Path) -> None:  # noqa: ARG001
    from dicom_node.lab.cxr import importer  # noqa: PLC0415 - as above

    with subprocess.Popen(["/bin/true"]) as ended:
        ended.wait()
    kept = {f".cxr.new-{os.getppid()}", ".cxr.new-x", f".other.new-{ended.pid}", "cxr"}
    gone = {f".cxr.{kind}-{process}" for kind in ("new", "rehearsal") for process in (ended.pid, os.getpid())}
    for name in kept | gone:
        (tmp_path / name).mkdir()
    importer._clear_leftovers(tmp_path / "cxr")
    assert {path.name for path in tmp_path.iterdir()} == kept


def test_names_are_found_inside_a_call_too_but_must_be_unique(tf: Any) -> None:
    from dicom_node.lab.cxr import saved_model  # noqa: PLC0415 - needs TensorFlow
    from dicom_node.lab.runs import LabError  # noqa: PLC0415 - as above

    graph = tf.compat.v1.GraphDef()
    graph.node.add(name=f"StatefulPartitionedCall/{saved_model.INPUT}", op="Tile")
    assert saved_model._node(graph, saved_model.INPUT).op == "Tile"
    graph.node.add(name=saved_model.INPUT, op="Tile")
    with pytest.raises(LabError, match="has 2 tensors named"):
        saved_model._node(graph, saved_model.INPUT)


def test_a_model_with_another_resize_inside_is_found_out(
    elixr: Any, probe: Probe, radiographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = elixr.write(tmp_path / "other", elixr.Shape(half_pixel=True))
    images = ["--images", radiographs, "--count", 3]
    assert import_cxr(other, probe, tmp_path / "out", "--preprocessing", "google-dicom-v2", *images) == 1
    line = _one_line(capsys)
    assert "the ONNX file does not answer as the SavedModel does: cosine" in line
    assert "nothing was written" in line
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_an_altered_import_is_not_served(bundle: Bundle, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in bundle.folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    (copy / "NOTICE").write_text("free for all\n", encoding="utf-8")
    with pytest.raises(BundleError, match="altered"):
        load_bundle(copy)
