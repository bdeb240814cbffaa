"""C45: the model is asked about one drawn radiograph, and another answer than the bundle's is no model."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicom_node.core.errors import BundleError
from dicom_node.inference import known_answer
from dicom_node.inference.bundle import load_bundle
from dicom_node.inference.onnx_embedder import OnnxEmbedder
from dicom_node.lab import bundle_files

DEFAULT = Path(__file__).resolve().parents[3] / "engines" / "compact-fracatlas"


def test_c45_the_default_bundle_answers_as_it_states() -> None:
    bundle = load_bundle(DEFAULT)
    assert bundle.manifest.known_answer is not None
    found = known_answer.answer(bundle, OnnxEmbedder(bundle))
    known_answer.check(bundle, found)
    assert abs(found - bundle.manifest.known_answer.logit) < 1e-3


@pytest.mark.parametrize("off", [0.06, -0.06, float("nan")])
def test_c45_another_answer_is_refused_and_both_are_said(off: float) -> None:
    bundle = load_bundle(DEFAULT)
    assert bundle.manifest.known_answer is not None
    with pytest.raises(BundleError, match=r"where -?\d+\.\d{3} is right: nothing is scored"):
        known_answer.check(bundle, bundle.manifest.known_answer.logit + off)


def test_a_bundle_of_an_earlier_version_states_none_until_its_card_is_renewed(make_bundle) -> None:
    folder = make_bundle()
    bundle = load_bundle(folder)
    known_answer.check(bundle, 1e9)
    tables: dict[str, object] = {}
    bundle_files.state_known_answer(folder, tables)
    with (folder / "manifest.toml").open("a", encoding="utf-8") as stream:
        stream.write(bundle_files.to_toml(tables))
    (folder / "embedder-0123.facts.plan").write_text("built on a device")
    bundle_files.write_sums(folder)
    assert "plan" not in (folder / "SHA256SUMS").read_text(encoding="utf-8")
    with pytest.raises(BundleError, match="nothing is scored"):
        known_answer.check(load_bundle(folder), 1e9)
