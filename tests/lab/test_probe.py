"""The probe: the same answer as scikit-learn's, folded exactly, written and read without running anything."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the lab needs scikit-learn: pip install 'dicom-node[lab]'")

import joblib
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from dicom_node.inference import head
from dicom_node.inference.bundle import Head
from dicom_node.inference.evidence import evidence_map
from dicom_node.lab import probe, probe_file
from dicom_node.lab.probe_unpickler import ALLOWED, ProbeUnpickler
from dicom_node.lab.runs import LabError

if TYPE_CHECKING:
    from pathlib import Path

WIDE = 8 * 8 * 1376


def _material(rows: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(4)
    features = random.normal(2.0, 1.5, (rows, width)).astype(np.float32)
    labels = features[:, :4].sum(1) + random.normal(0, 2, rows) > 8.0
    return features, labels


def _sklearn(features: np.ndarray, labels: np.ndarray) -> tuple[Any, Any]:
    scaler = StandardScaler().fit(features.astype(np.float64))
    model = LogisticRegression(class_weight="balanced", max_iter=5000, tol=1e-9)
    return scaler, model.fit(scaler.transform(features.astype(np.float64)), labels.astype(int))


@pytest.mark.parametrize("width", [16, 512])
def test_the_fit_is_scikit_learns_narrow_and_wide(width: int) -> None:
    features, labels = _material(120, width)
    fitted = probe.fit(features, np.arange(120), labels, probe.Settings())
    scaler, model = _sklearn(features, labels)
    wanted = model.decision_function(scaler.transform(features.astype(np.float64)))
    assert fitted.converged
    assert probe.fold(fitted.linear).logits(features) == pytest.approx(wanted, abs=2e-3 * np.abs(wanted).max())
    assert fitted.scaler.mean_ == pytest.approx(scaler.mean_, rel=1e-6)
    assert fitted.scaler.scale_ == pytest.approx(scaler.scale_, rel=1e-5)


def test_the_fit_leaves_the_embeddings_as_they_are_and_takes_chosen_rows() -> None:
    features, labels = _material(60, 100)
    before = features.copy()
    chosen = np.arange(5, 45)
    fitted = probe.fit(features, chosen, labels[chosen], probe.Settings())
    assert np.array_equal(features, before)
    assert fitted.scaler.mean_ == pytest.approx(features[chosen].mean(0), rel=1e-5)


def test_folding_is_exact_for_the_published_shape() -> None:
    random = np.random.default_rng(7)
    linear = probe.LinearProbe(
        random.normal(0, 0.02, WIDE), -1.3, random.normal(0.4, 0.2, WIDE), random.uniform(0.1, 2.0, WIDE)
    )
    features = random.normal(0.4, 0.6, (6, WIDE)).astype(np.float32)
    wanted = ((features - linear.mean) / linear.scale) @ linear.coef + linear.intercept
    folded = probe.fold(linear)
    assert folded.weight.dtype == np.float32
    assert np.abs(folded.logits(features) - wanted).max() <= 1e-5 * np.abs(wanted).max()
    # The serving code, on the same row unfolded in C order, gives that logit, and its map adds up to it.
    served = Head(folded.weight.reshape(8, 8, 1376), folded.bias, None, 0.0)
    for row, z in zip(features, wanted, strict=True):
        unfolded = row.reshape(8, 8, 1376)
        assert head.logit(unfolded, served, 1) == pytest.approx(z, abs=1e-5 * np.abs(wanted).max())
        assert float(evidence_map(unfolded, served, 1).sum()) + folded.bias == pytest.approx(z, abs=1e-3)


def test_one_class_and_broken_embeddings_are_refused() -> None:
    features, labels = _material(20, 8)
    with pytest.raises(LabError, match=r"all 20 images to learn from are not fractured"):
        probe.fit(features, np.arange(20), np.zeros(20, dtype=bool), probe.Settings())
    features[3, 3] = np.nan
    with pytest.raises(LabError, match="not numbers"):
        probe.fit(features, np.arange(20), labels | (np.arange(20) == 0), probe.Settings())


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def fitted() -> probe.Fitted:
    features, labels = _material(80, 64)
    return probe.fit(features, np.arange(80), labels, probe.Settings())


def test_a_written_probe_is_plain_scikit_learn_and_reads_back(tmp_path: Path, fitted: probe.Fitted) -> None:
    path = tmp_path / "probe.joblib"
    digest = probe_file.write(path, fitted, 3.49, {"auc": np.float64(0.882), "low": float("nan")})
    assert (tmp_path / "probe.joblib.sha256").read_text(encoding="utf-8") == f"{digest}  probe.joblib\n"
    held = joblib.load(path)
    features, _ = _material(80, 64)
    before = features.copy()
    z = held["model"].decision_function(held["scaler"].transform(features))
    assert np.array_equal(features, before)
    assert z == pytest.approx(probe.fold(fitted.linear).logits(features), abs=1e-4)
    found = probe_file.read(path, probe_file.expected_digest(path, None), 64)
    assert np.array_equal(found.probe.coef, fitted.linear.coef)
    assert found.temperature == 3.49
    assert found.holdout_metrics == {"auc": 0.882, "low": None}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_pickle_protocol_and_both_precisions(
    tmp_path: Path, fitted: probe.Fitted, protocol: int, dtype: type
) -> None:
    path = tmp_path / "probe.pkl"
    model = LogisticRegression()
    model.coef_ = fitted.model.coef_.astype(dtype)
    model.intercept_, model.classes_ = fitted.model.intercept_.astype(dtype), np.array([0, 1])
    content = {"model": model, "scaler": fitted.scaler, "temperature": np.float32(2.0)}
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    found = probe_file.read(path, _digest(path), 64)
    assert found.probe.coef == pytest.approx(fitted.linear.coef)
    assert found.probe.scale == pytest.approx(fitted.linear.scale)
    assert found.temperature == 2.0


@pytest.mark.parametrize("compress", [0, 3, ("gzip", 3)])
def test_joblib_with_and_without_compression(tmp_path: Path, fitted: probe.Fitted, compress: Any) -> None:
    path = tmp_path / "probe.joblib"
    joblib.dump({"model": fitted.model, "scaler": fitted.scaler, "temperature": 1}, path, compress=compress)
    assert np.array_equal(probe_file.read(path, _digest(path), 64).probe.mean, fitted.linear.mean)


def test_attributes_of_old_and_unknown_versions_do_no_harm(tmp_path: Path, fitted: probe.Fitted) -> None:
    path = tmp_path / "probe.joblib"
    model = LogisticRegression()
    vars(model).update(vars(fitted.model))
    vars(model).update({"multi_class": "auto", "_sklearn_version": "0.22.1", "something_of_2031": [1, "x", None]})
    joblib.dump({"model": model, "scaler": fitted.scaler, "temperature": 1.0}, path)
    content = path.read_bytes()
    # As scikit-learn 0.21 named its modules; the names' lengths stand before them.
    for new, old in ((b"sklearn.linear_model._logistic", b"sklearn.linear_model.logistic"),):
        assert bytes([0x8C, len(new)]) + new in content
        short = content.replace(bytes([0x8C, len(new)]) + new, bytes([0x8C, len(old)]) + old)
        # One byte fewer in that frame.
        frame = short.index(b"\x95") + 1
        (length,) = struct.unpack("<Q", short[frame : frame + 8])
        content = short[:frame] + struct.pack("<Q", length - 1) + short[frame + 8 :]
    found = ProbeUnpickler(io.BytesIO(content)).load_probe()
    assert found["model"].kind == "LogisticRegression"
    assert probe_file.read(path, _digest(path), 64).temperature == 1.0


class Hostile:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self._call = (function, arguments)

    def __reduce__(self) -> Any:
        return self._call


@pytest.mark.parametrize(
    ("function", "named"),
    [(os.system, "posix.system"), (eval, "builtins.eval"), (getattr, "builtins.getattr"), (np.load, "numpy")],
)
def test_a_hostile_file_is_refused_by_the_name_of_what_it_wants(tmp_path: Path, function: Any, named: str) -> None:
    path, witness = tmp_path / "probe.joblib", tmp_path / "ran"
    joblib.dump({"model": Hostile(function, f"touch {witness}"), "scaler": 1, "temperature": 1}, path)
    with pytest.raises(LabError, match=named) as caught:
        probe_file.read(path, _digest(path), 64)
    assert "\n" not in str(caught.value)
    assert not witness.exists()


def test_a_name_with_line_breaks_stays_on_one_line(tmp_path: Path) -> None:
    path = tmp_path / "probe.pkl"
    module, name = b"os\n\x1b[2J", b"system" * 60
    opcodes = b"\x8c" + bytes([len(module)]) + module + b"X" + struct.pack("<I", len(name)) + name + b"\x93."
    path.write_bytes(b"\x80\x04" + opcodes)
    with pytest.raises(LabError, match="which no probe needs") as caught:
        probe_file.read(path, _digest(path), 64)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


def test_an_array_of_objects_cannot_smuggle_a_second_pickle(tmp_path: Path, fitted: probe.Fitted) -> None:
    path, witness = tmp_path / "probe.joblib", tmp_path / "ran"
    hidden = np.array([Hostile(os.system, f"touch {witness}")], dtype=object)
    joblib.dump({"model": fitted.model, "scaler": fitted.scaler, "temperature": hidden}, path)
    with pytest.raises(LabError, match="Python objects"):
        probe_file.read(path, _digest(path), 64)
    assert not witness.exists()


def test_nothing_allowed_is_code_of_another_package() -> None:
    assert {one.__module__ for one in ALLOWED.values()} == {"dicom_node.lab.probe_unpickler"}


def test_a_state_cannot_be_given_to_anything_but_a_shell(tmp_path: Path) -> None:
    # Opcodes: push the class in place of StandardScaler itself, then BUILD on it.
    name = b"csklearn.preprocessing._data\nStandardScaler\n"
    path = tmp_path / "probe.pkl"
    path.write_bytes(b"\x80\x02" + name + b"}b.")
    with pytest.raises(LabError, match="changes an object of type type"):
        probe_file.read(path, _digest(path), 64)


@pytest.mark.parametrize("cut", [1, 30, 400])
def test_a_file_cut_short_is_an_error_of_one_line(tmp_path: Path, fitted: probe.Fitted, cut: int) -> None:
    path = tmp_path / "probe.joblib"
    probe_file.write(path, fitted, 1.0, {})
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(LabError) as caught:
        probe_file.read(path, _digest(path), 64)
    assert "\n" not in str(caught.value)


def test_a_scaler_that_does_not_centre_has_a_mean_and_does_not_use_it(tmp_path: Path, fitted: probe.Fitted) -> None:
    features, _ = _material(80, 64)
    path = tmp_path / "probe.joblib"
    for options in ({"with_mean": False}, {"with_std": False}, {"with_mean": False, "with_std": False}):
        scaler = StandardScaler(**options).fit(features + 1.0)
        joblib.dump({"model": fitted.model, "scaler": scaler, "temperature": 1.0}, path)
        found = probe.fold(probe_file.read(path, _digest(path), 64).probe).logits(features)
        assert found == pytest.approx(fitted.model.decision_function(scaler.transform(features)), abs=1e-4)


@pytest.mark.parametrize("labels", [["fractured", "normal"], [1, 0], [1, 2], [0, 2]])
def test_a_probe_that_does_not_say_which_class_is_the_fracture_is_refused(
    tmp_path: Path, fitted: probe.Fitted, labels: list[Any]
) -> None:
    path = tmp_path / "probe.joblib"
    model = LogisticRegression()
    vars(model).update(vars(fitted.model) | {"classes_": np.array(labels)})
    joblib.dump({"model": model, "scaler": fitted.scaler, "temperature": 1.0}, path)
    with pytest.raises(LabError, match="nobody says which is the fracture"):
        probe_file.read(path, _digest(path), 64)


def test_lists_that_hold_one_another_many_times_over_are_refused(tmp_path: Path, fitted: probe.Fitted) -> None:
    path = tmp_path / "probe.joblib"
    many = [[0] * 1001] * 1001
    good = {"model": fitted.model, "scaler": fitted.scaler, "temperature": 1.0}
    joblib.dump(good | {"holdout_metrics": {"many": many}}, path)
    with pytest.raises(LabError, match="far more than a probe"):
        probe_file.read(path, _digest(path), 64)


def test_wrong_contents_are_named(tmp_path: Path, fitted: probe.Fitted) -> None:
    path = tmp_path / "probe.joblib"
    good = {"model": fitted.model, "scaler": fitted.scaler, "temperature": 1.0}
    integers = LogisticRegression()
    vars(integers).update(vars(fitted.model) | {"coef_": np.ones((1, 64), dtype=np.int64)})
    cases: list[tuple[Any, int, str]] = [
        (good, 88064, r"coef_ is float32 \(1, 64\), needs float32 or float64 of shape \(1, 88064\)"),
        ({"model": fitted.model}, 64, "is no probe"),
        ([1, 2], 64, "is no probe"),
        (good | {"extra": 1}, 64, "is no probe"),
        (good | {"model": fitted.scaler}, 64, "its model is no LogisticRegression"),
        (good | {"temperature": 0.0}, 64, "must be above 0"),
        (good | {"temperature": "3"}, 64, "temperature is no number"),
        (good | {"temperature": 10**400}, 64, "temperature is no number"),
        (good | {"model": integers}, 64, "coef_ is int64"),
    ]
    for content, features, words in cases:
        joblib.dump(content, path)
        with pytest.raises(LabError, match=words):
            probe_file.read(path, _digest(path), features)
