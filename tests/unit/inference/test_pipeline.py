from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from dicom_node.core.decision import decide_view
from dicom_node.core.errors import BundleError, WorkerCrashed
from dicom_node.core.findings import Outcome, ReasonCode
from dicom_node.core.intended_use import ViewAttributes
from dicom_node.core.localisation import measure
from dicom_node.core.radiograph import Radiograph
from dicom_node.inference import head
from dicom_node.inference.bundle import load_bundle
from dicom_node.inference.onnx_embedder import OnnxEmbedder
from dicom_node.inference.pipeline import Pipeline
from dicom_node.report.codes import REASONS

HAND = ViewAttributes("DX", "HAND", "045Y", ("DERIVED", "PRIMARY"))


class Fixed:
    """An embedder that answers with given features."""

    runtime = "fixed"

    def __init__(self, features: np.ndarray) -> None:
        self.features = features

    def embed(self, tensor: np.ndarray) -> np.ndarray:
        assert tensor.shape == (1, 1, 512, 512)
        return self.features

    def close(self) -> None:
        pass


def features(peak: float = 5.0) -> np.ndarray:
    values = np.zeros((32, 32, 4), dtype=np.float32)
    values[15:18, 14:17, 0] = peak
    return values


def with_bias(value: float) -> dict[str, np.ndarray]:
    return {"bias": np.array([value], dtype=np.float32)}


def test_c45_features_that_are_one_value_everywhere_are_withheld(make_bundle, hand) -> None:
    bundle = load_bundle(make_bundle())
    stuck = Fixed(np.full((32, 32, 4), 0.5, dtype=np.float32))
    finding = Pipeline(bundle, stuck).analyse("1.2.3", HAND, Radiograph(hand)).finding
    assert (finding.outcome, finding.probability) == (Outcome.NOT_ANALYSED, None)
    assert finding.reason is not None
    assert (finding.reason.code, finding.reason.blames_model) == (ReasonCode.CONSTANT, True)


def test_a_real_network_is_scored_and_the_map_sums_to_the_score(make_bundle, hand) -> None:
    bundle = load_bundle(make_bundle())
    embedder = OnnxEmbedder(bundle)
    analysis = Pipeline(bundle, embedder).analyse("1.2.3", HAND, Radiograph(hand))
    finding = analysis.finding
    assert finding.outcome in {Outcome.POSITIVE, Outcome.NEGATIVE, Outcome.INCONCLUSIVE}
    assert finding.logit is not None
    assert finding.probability == head.probability(finding.logit, 1.0, 0.0)
    assert analysis.evidence is not None
    assert analysis.shown_map is not None
    assert float(analysis.evidence.values.sum()) + 0.25 == pytest.approx(finding.logit, abs=1e-3)
    assert analysis.shown_map.kind == "localiser"
    assert analysis.features is not None
    assert analysis.features.shape == (4,)
    assert "ONNX Runtime" in finding.model.runtime
    embedder.close()


def test_the_outcome_is_the_core_s_decision(make_bundle, hand) -> None:
    bundle = load_bundle(make_bundle())
    for peak in (-50.0, 0.1, 5.0, 50.0):
        analysis = Pipeline(bundle, Fixed(features(peak))).analyse("1.2.3", HAND, Radiograph(hand))
        measures = measure(analysis.shown_map.values, analysis.shown_map.body, 0.5)
        assert (analysis.finding.outcome, analysis.finding.reason) == decide_view(
            analysis.finding.probability, measures, bundle.gate
        )


def test_a_positive_has_a_region_over_its_peak_in_image_pixels(make_bundle, hand) -> None:
    bundle = load_bundle(make_bundle(tensors=with_bias(9.0)))
    finding = Pipeline(bundle, Fixed(features())).analyse("1.2.3", HAND, Radiograph(hand)).finding
    assert finding.outcome is Outcome.POSITIVE
    (region,) = finding.regions
    columns, rows = zip(*region.points, strict=True)
    # 512 / 600 is the scale; the letterbox pads the left by (512 - 341) // 2 = 85.
    assert min(rows) == pytest.approx(240 / (512 / 600))
    assert max(columns) == pytest.approx((17 * 16 - 85) / (341 / 400))
    assert finding.localisation.trusted
    peak_column, peak_row = finding.localisation.peak
    assert min(columns) < peak_column < max(columns)
    assert min(rows) < peak_row < max(rows)


def test_a_negative_and_an_untrusted_map_draw_no_region(make_bundle, hand) -> None:
    negative = load_bundle(make_bundle(tensors=with_bias(-9.0)))
    finding = Pipeline(negative, Fixed(features())).analyse("1.2.3", HAND, Radiograph(hand)).finding
    assert (finding.outcome, finding.regions) == (Outcome.NEGATIVE, ())
    untrusted = load_bundle(make_bundle({"entropy_max = 1.0": "entropy_max = 0.01"}, with_bias(9.0)))
    finding = Pipeline(untrusted, Fixed(features())).analyse("1.2.3", HAND, Radiograph(hand)).finding
    assert (finding.outcome, finding.regions) == (Outcome.POSITIVE, ())
    assert not finding.localisation.trusted


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_no_number_comes_of_features_that_are_none(make_bundle, hand, value) -> None:
    broken = features()
    broken[3, 3, 3] = value
    analysis = Pipeline(load_bundle(make_bundle()), Fixed(broken)).analyse("1.2.3", HAND, Radiograph(hand))
    assert analysis.finding.reason.code is ReasonCode.NON_FINITE
    assert analysis.finding.probability is None
    assert analysis.shown_map is None


def test_a_map_that_does_not_sum_to_the_score_is_refused(make_bundle, hand, monkeypatch) -> None:
    monkeypatch.setattr(head, "logit", lambda *_: 3.0)
    pipeline = Pipeline(load_bundle(make_bundle()), Fixed(features()))
    finding = pipeline.analyse("1.2.3", HAND, Radiograph(hand)).finding
    assert finding.reason.code is ReasonCode.MAP_MISMATCH


@pytest.mark.parametrize(
    ("grey", "code"),
    [
        (np.zeros((400, 400)), ReasonCode.FLAT_IMAGE),
        (np.full((400, 400), 65535), ReasonCode.FLAT_IMAGE),
        (np.tile([30000, 30300], (400, 200)), ReasonCode.FLAT_IMAGE),
        (np.tile([0, 65535], (63, 400)), ReasonCode.IMPLAUSIBLE_SIZE),
    ],
)
def test_an_image_that_shows_nothing_is_not_analysed(make_bundle, grey, code) -> None:
    pipeline = Pipeline(load_bundle(make_bundle()), Fixed(features()))
    finding = pipeline.analyse("1.2.3", HAND, Radiograph(grey.astype(np.uint16))).finding
    assert (finding.outcome, finding.reason.code) == (Outcome.NOT_ANALYSED, code)
    assert finding.model is not None


def test_case_c35_an_image_outside_the_intended_use_is_never_embedded(make_bundle, hand) -> None:
    pipeline = Pipeline(load_bundle(make_bundle()), Fixed(np.zeros(0)))
    for attributes in (ViewAttributes("CT"), ViewAttributes("DX", "CHEST"), ViewAttributes("DX", "HAND", "009Y")):
        finding = pipeline.analyse("1.2.3", attributes, Radiograph(hand)).finding
        assert finding.outcome is Outcome.NOT_ANALYSED
        assert not finding.reason.attempted


@pytest.mark.parametrize(
    ("line", "attributes", "is_scored"),
    [
        ("age_required = true", ViewAttributes("DX", "HAND"), False),
        ("age_required = true", ViewAttributes("DX", "HAND", birth_date="19700131"), False),
        ("age_required = true", ViewAttributes("DX", "HAND", birth_date="19700131", study_date="20260131"), True),
        ("age_required = true", ViewAttributes("DX", "HAND", "045Y"), True),
        ("age_required = false", ViewAttributes("DX", "HAND"), True),
        ("", ViewAttributes("DX", "HAND"), True),  # a bundle of before
    ],
)
def test_case_c35_a_bundle_that_demands_an_age_scores_no_image_without(
    make_bundle, hand, line, attributes, is_scored
) -> None:
    bundle = load_bundle(make_bundle({"min_age_years = 18": f"min_age_years = 18\n{line}"}))
    finding = Pipeline(bundle, Fixed(features())).analyse("1.2.3", attributes, Radiograph(hand)).finding
    assert (finding.logit is not None) is is_scored
    assert (finding.outcome is Outcome.NOT_ANALYSED) is not is_scored
    if not is_scored:
        assert finding.reason.code is ReasonCode.AGE
        assert REASONS[finding.reason.code].meaning == "Age out of scope"


def test_a_bundle_without_localiser_shows_its_evidence(make_bundle, hand) -> None:
    without = {"localiser_weight": None, "localiser_bias": None}
    bundle = load_bundle(make_bundle({"localiser = true": "localiser = false"}, without))
    analysis = Pipeline(bundle, Fixed(features())).analyse("1.2.3", HAND, Radiograph(hand))
    assert analysis.shown_map is analysis.evidence
    assert analysis.shown_map.kind == "evidence"


@pytest.mark.parametrize(
    ("old", "new"),
    [('"image"', '"picture"'), ('"features"', '"map"'), ("[1, 1, 512, 512]", "[1, 1, 256, 256]")],
)
def test_a_network_that_is_not_the_manifest_s_is_refused(make_bundle, old, new) -> None:
    with pytest.raises(BundleError, match="manifest says"):
        OnnxEmbedder(load_bundle(make_bundle({old: new})))


def test_a_network_of_fixed_batch_fits_too(make_bundle, hand) -> None:
    bundle = load_bundle(make_bundle(dynamic=False))
    assert Pipeline(bundle, OnnxEmbedder(bundle)).analyse("1", HAND, Radiograph(hand)).finding.logit is not None


def test_an_unknown_provider_and_a_failing_run_have_their_errors(make_bundle) -> None:
    bundle = load_bundle(make_bundle())
    with pytest.raises(BundleError, match="NoSuchProvider"):
        OnnxEmbedder(bundle, providers=["NoSuchProvider"])
    embedder = OnnxEmbedder(bundle)
    with pytest.raises(BundleError, match="do not fit"):
        embedder.embed(np.zeros((1, 1, 8, 8), dtype=np.float32))
    with pytest.raises(WorkerCrashed, match="failed"):
        embedder.embed(np.zeros((1, 1, 512, 512), dtype=np.float64))


def test_a_bundle_is_read_without_loading_a_runtime() -> None:
    script = (
        "import sys, dicom_node.inference.bundle as b\n"
        "print({'onnxruntime', 'torch', 'cv2', 'pydicom', 'tensorrt'} & sys.modules.keys())"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"
