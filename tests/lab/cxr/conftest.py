"""TensorFlow for these tests: where it is missing they are skipped, visibly; in CI it must be there."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from dicom_node.cli.main import main
from tests.support.fracatlas import Pictures
from tests.support.published_probe import Probe, write_probe

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


@pytest.fixture(scope="session")
def tf() -> Any:
    """Return the module tensorflow."""
    try:
        importlib.import_module("tf2onnx")
        return importlib.import_module("tensorflow")
    except ImportError as error:
        reason = f"{error.name} is not installed: scripts/setup cxr"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture(scope="session")
def elixr(tf: Any) -> Any:  # noqa: ARG001 - skips where TensorFlow is missing
    """Return the module that writes miniature SavedModels."""
    return importlib.import_module("tests.support.elixr")


@pytest.fixture(scope="session")
def saved_model(elixr: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a miniature ELIXR-C."""
    folder: Path = elixr.write(tmp_path_factory.mktemp("elixr") / "elixr-c-v2-pooled")
    return folder


@pytest.fixture(scope="session")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Probe:
    """Return a probe that does not say what it was fitted with, as the published one."""
    return write_probe(tmp_path_factory.mktemp("probe") / "fracture_probe.joblib", {"auc": 0.882, "folds": "five"})


@pytest.fixture(scope="session")
def radiographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of six pictures: FracAtlas radiographs where they are, phantoms otherwise; one in 16 bit."""
    folder = tmp_path_factory.mktemp("radiographs")
    pictures = Pictures(seed=3)
    for number in range(5):
        cv2.imwrite(str(folder / f"{number}.png"), pictures[number].grey)
    deep = cv2.GaussianBlur(pictures[5].grey.astype(np.float32) * 250, (0, 0), 1.0)
    cv2.imwrite(str(folder / "5.png"), deep.astype(np.uint16))
    (folder / "6.png").write_bytes(b"not a picture")
    return folder


def import_cxr(saved_model: Path, probe: Probe, out: Path, *options: Any) -> int:
    """Call the command as a user does."""
    words = ["--saved-model", saved_model, "--probe", probe.path, "--sha256", probe.sha256, "--out", out, *options]
    return main(["engine", "import-cxr", *map(str, words)])


@pytest.fixture(scope="session", params=["fp32", "fp16"])
def bundle_folder(
    request: pytest.FixtureRequest,
    saved_model: Path,
    probe: Probe,
    radiographs: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Return an imported bundle, in each precision: bands that part the pictures, regions where there is evidence."""
    out = tmp_path_factory.mktemp(request.param) / "cxr"
    options = ["--precision", request.param, "--images", radiographs, "--bands", 0.45, 0.55, "--map-bounds", 1, 1]
    assert import_cxr(saved_model, probe, out, *options) == 0
    return out
