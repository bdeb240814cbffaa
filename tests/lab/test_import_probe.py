"""`lab import-probe` as it is called: the digest first, then a reader that runs nothing, then safetensors."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the lab needs scikit-learn: pip install 'dicom-node[lab]'")

import joblib
from safetensors.numpy import load_file
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from dicom_node.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = (2, 2, 8)


@pytest.fixture
def published(tmp_path: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    random = np.random.default_rng(3)
    features = random.normal(1.0, 2.0, (90, 32))
    scaler = StandardScaler().fit(features)
    model = LogisticRegression().fit(scaler.transform(features), features[:, 0] > 1)
    path = tmp_path / "probe.joblib"
    joblib.dump({"model": model, "scaler": scaler, "temperature": 3.49, "holdout_metrics": {"auc": 0.882}}, path)
    return path, features, model.decision_function(scaler.transform(features))


def _run(*words: Any) -> int:
    return main(["lab", "import-probe", *map(str, words)])


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_published_probe_becomes_the_same_head(published: Any, tmp_path: Path) -> None:
    path, features, wanted = published
    out = tmp_path / "out"
    assert _run(path, "--sha256", _digest(path).upper(), "--embedder", "2x2x8", "--out", out) == 0
    tensors = load_file(str(out / "head.safetensors"))
    assert tensors["weight"].shape == SHAPE
    assert {one.dtype for one in tensors.values()} == {np.dtype(np.float32)}
    z = features.astype(np.float32) @ tensors["weight"].reshape(-1) + tensors["bias"][0]
    assert np.abs(z - wanted).max() <= 1e-5 * np.abs(wanted).max()
    facts = json.loads((out / "probe.json").read_text(encoding="utf-8"))
    assert (facts["temperature"], facts["sha256"], facts["shape"]) == (3.49, _digest(path), list(SHAPE))
    assert facts["holdout_metrics"] == {"auc": 0.882}


def test_the_sidecar_serves_as_digest(published: Any, tmp_path: Path) -> None:
    path, _, _ = published
    path.with_name("probe.joblib.sha256").write_text(f"{_digest(path)} *probe.joblib\n", encoding="utf-8")
    assert _run(path, "--embedder", "2x2x8", "--out", tmp_path / "out") == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--embedder", "2x2x8"], "no digest: give --sha256"),
        (["--embedder", "2x2x8", "--sha256", "abc"], "is no SHA-256 digest"),
        (["--embedder", "2x2x8", "--sha256", "0" * 64], "refused unread"),
        (["--embedder", "8x8x1376"], "needs float32 or float64 of shape (1, 88064)"),
        (["--embedder", "no-such-bundle"], "neither a bundle's folder nor a shape"),
    ],
)
def test_refusals_are_one_line_and_leave_nothing(
    published: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    path, _, _ = published
    if "8x8x1376" in options:
        options = [*options, "--sha256", _digest(path)]
    assert _run(path, *options, "--out", tmp_path / "out") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
    assert not (tmp_path / "out").exists()


def test_a_wrong_digest_is_found_before_a_byte_is_interpreted(
    published: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _, _ = published
    seen: list[object] = []
    monkeypatch.setattr("dicom_node.lab.probe_file.ProbeUnpickler", seen.append)
    assert _run(path, "--sha256", "0" * 64, "--embedder", "2x2x8", "--out", tmp_path / "out") == 1
    assert seen == []


class _Hostile:
    def __init__(self, command: str) -> None:
        self._command = command

    def __reduce__(self) -> Any:
        return os.system, (self._command,)


def test_a_hostile_file_with_a_right_digest_runs_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, witness = tmp_path / "probe.joblib", tmp_path / "ran"
    path.write_bytes(pickle.dumps({"model": _Hostile(f"touch {witness}"), "scaler": 1, "temperature": 1}))
    assert _run(path, "--sha256", _digest(path), "--embedder", "2x2x8", "--out", tmp_path / "out") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "posix.system" in line
    assert not witness.exists()
    assert not (tmp_path / "out").exists()


def test_a_folder_with_something_in_it_is_not_written_into(published: Any, tmp_path: Path) -> None:
    path, _, _ = published
    assert _run(path, "--sha256", _digest(path), "--embedder", "2x2x8", "--out", tmp_path) == 1
    assert not (tmp_path / "head.safetensors").exists()
