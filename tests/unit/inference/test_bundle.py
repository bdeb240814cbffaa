from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pytest

from dicom_node.core.decision import Policy
from dicom_node.core.errors import BundleError
from dicom_node.inference.bundle import identity, load_bundle
from dicom_node.inference.bundle_digest import bundle_digest

if TYPE_CHECKING:
    from pathlib import Path


def test_a_complete_bundle_is_loaded(make_bundle) -> None:
    folder = make_bundle()
    bundle = load_bundle(folder, expected_sha256=bundle_digest(folder))
    assert bundle.gate.policy is Policy.CERTIFIED
    assert bundle.intended_use.body_parts == ("HAND",)
    assert bundle.head.weight.shape == (8, 8, 4)
    assert bundle.gate_map == "localiser"
    assert bundle.sha256 == hashlib.sha256((folder / "SHA256SUMS").read_bytes()).hexdigest()


def test_the_identity_states_everything_that_decides(make_bundle) -> None:
    model = identity(load_bundle(make_bundle()), runtime="none")
    said = dict(model.parameters)
    assert said["negative below probability"] == "0.1"
    assert said["preprocessing"] == "lcn-letterbox-512-v1"
    assert said["bound"].startswith("at most 10 %")
    assert said["bundle SHA-256"] == model.bundle_sha256


@pytest.mark.parametrize("name", ["manifest.toml", "embedder.onnx", "head.safetensors", "MODEL_CARD.md", "LICENSE"])
def test_case_c36_one_changed_byte_anywhere_refuses_the_bundle(make_bundle, name: str) -> None:
    folder = make_bundle()
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(BundleError, match=name):
        load_bundle(folder)


@pytest.mark.parametrize("name", ["manifest.toml", "embedder.onnx", "head.safetensors", "MODEL_CARD.md", "LICENSE"])
def test_a_missing_file_refuses_the_bundle(make_bundle, write_sums, name: str) -> None:
    folder = make_bundle()
    (folder / name).unlink()
    with pytest.raises(BundleError, match=name):
        load_bundle(folder)
    write_sums(folder)
    with pytest.raises(BundleError, match=name):
        load_bundle(folder)


def test_case_c36_another_digest_than_expected_refuses_the_bundle(make_bundle) -> None:
    with pytest.raises(BundleError, match="expect"):
        load_bundle(make_bundle(), expected_sha256="0" * 64)


def test_an_unlisted_file_refuses_the_bundle_but_a_built_plan_does_not(make_bundle) -> None:
    folder = make_bundle()
    (folder / "fp16.plan").write_bytes(b"built here")
    load_bundle(folder)
    (folder / "model.pkl").write_bytes(b"pickle")
    with pytest.raises(BundleError, match=r"model\.pkl"):
        load_bundle(folder)


@pytest.mark.parametrize(
    "line", ["", "nonsense", f"{'0' * 64}  ../secret", f"{'0' * 64}  /etc/passwd", f"{'0' * 64}  a\0b", "\xff\x00"]
)
def test_sums_that_point_elsewhere_are_refused(make_bundle, line: str) -> None:
    folder = make_bundle()
    with (folder / "SHA256SUMS").open("a") as sums:
        sums.write(line + "\n")
    with pytest.raises(BundleError, match="SHA256SUMS"):
        load_bundle(folder)


def test_a_link_is_refused(make_bundle, tmp_path: Path) -> None:
    folder = make_bundle()
    (folder / "NOTICE").symlink_to(tmp_path)
    with pytest.raises(BundleError, match="link"):
        load_bundle(folder)


def test_no_folder_is_a_bundle_error(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="cannot be read"):
        bundle_digest(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("schema = 1", "schema = 2", "schema"),
        ("p_low = 0.1", "p_lo = 0.1", "p_lo"),
        ("p_low = 0.1", "p_low = 0.9", "p_low"),
        ("p_low = 0.1", "p_low = nan", "p_low"),
        ("p_low = 0.1", 'p_low = "0.1"', "p_low"),
        ("a = 1.0", "a = inf", "calibration"),
        ("alpha = 0.5", "alpha = 0.0", "alpha"),
        ('policy = "certified"', 'policy = "guess"', "policy"),
        ("pool = 4", "pool = 5", "output_shape"),
        ("localiser = true", 'localiser = "yes"', "localiser"),
        ('modalities = ["CR", "DX"]', "modalities = []", "modalities"),
        ("[metrics]", "[surprise]\nx = 1\n[metrics]", "surprise"),
        ("[metrics]", "[metrics", "TOML"),
        ("p_low = 0.1", f"p_low = {'9' * 5000}", "TOML"),
        ("[metrics]", f"[metrics]\ndeep = {'[' * 5000}{']' * 5000}", "TOML"),
    ],
)
def test_a_manifest_that_breaks_its_schema_is_refused_by_key(make_bundle, old: str, new: str, key: str) -> None:
    with pytest.raises(BundleError, match=key) as caught:
        load_bundle(make_bundle({old: new}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "tensors",
    [
        {"weight": np.zeros((8, 8, 5), dtype=np.float32)},
        {"weight": np.zeros((8, 8, 4), dtype=np.float64)},
        {"weight": np.full((8, 8, 4), np.nan, dtype=np.float32)},
        {"bias": np.zeros(2, dtype=np.float32)},
        {"localiser_weight": None},
        {"extra": np.zeros(1, dtype=np.float32)},
    ],
)
def test_a_head_of_another_shape_is_refused(make_bundle, tensors) -> None:
    with pytest.raises(BundleError, match=r"head\.safetensors"):
        load_bundle(make_bundle(tensors=tensors))


def test_a_head_that_is_no_safetensors_file_is_refused(make_bundle, write_sums) -> None:
    folder = make_bundle()
    (folder / "head.safetensors").write_bytes(b"\x80\x04pickle")
    write_sums(folder)
    with pytest.raises(BundleError, match="safetensors"):
        load_bundle(folder)


def test_a_gate_without_a_localiser_measures_the_evidence(make_bundle) -> None:
    without = {"localiser_weight": None, "localiser_bias": None}
    assert load_bundle(make_bundle({"localiser = true": "localiser = false"}, without)).gate_map == "evidence"
